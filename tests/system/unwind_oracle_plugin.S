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
#if defined(__x86_64__)
        sub     $PLUGIN_FRAME, %rsp
        .cfi_def_cfa_offset PLUGIN_FRAME + 8
        call    *%rdi
        add     $PLUGIN_FRAME, %rsp
        .cfi_def_cfa_offset 8
#else
        stp     x29, x30, [sp, -16]!
        .cfi_def_cfa_offset 16
        .cfi_offset x29, -16
        .cfi_offset x30, -8
        sub     sp, sp, #(PLUGIN_FRAME + 8)
        .cfi_def_cfa_offset PLUGIN_FRAME + 24
        blr     x0
        add     sp, sp, #(PLUGIN_FRAME + 8)
        .cfi_def_cfa_offset 16
        ldp     x29, x30, [sp], 16
        .cfi_def_cfa_offset 0
        .cfi_restore x29
        .cfi_restore x30
#endif
        ret
        .cfi_endproc
        .size plugin_call, . - plugin_call
        .section .note.GNU-stack, "", @progbits
