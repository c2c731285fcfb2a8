/*
 * unwind_oracle_plugin.S: a shared object with one function, of a frame of PLUGIN_FRAME bytes.
 * Two builds of it differ in nothing but that: code and size are the same, so that one can take
 * the other's place in memory, and only its CFI tells them apart.
 */
        .text
        .globl plugin_call
        .type plugin_call, @function
plugin_call:
        .cfi_startproc
        sub     $PLUGIN_FRAME, %rsp
        .cfi_def_cfa_offset PLUGIN_FRAME + 8
        call    *%rdi
        add     $PLUGIN_FRAME, %rsp
        .cfi_def_cfa_offset 8
        ret
        .cfi_endproc
        .size plugin_call, . - plugin_call
        .section .note.GNU-stack, "", @progbits
