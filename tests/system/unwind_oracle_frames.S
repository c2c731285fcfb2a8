/*
 * unwind_oracle_frames.S: frames that no compiler makes, with CFI that is right, and one whose
 * CFI is not.
 */
#if defined(__x86_64__)
        .text

/* void frame_on_rbx(void (*)(void)): the dynamic loader's resolver addresses its frame so. */
        .globl frame_on_rbx
        .type frame_on_rbx, @function
frame_on_rbx:
        .cfi_startproc
        push    %rbx
        .cfi_def_cfa_offset 16
        .cfi_offset %rbx, -16
        mov     %rsp, %rbx
        .cfi_def_cfa_register %rbx
        sub     $96, %rsp
        and     $-64, %rsp
        call    *%rdi
        mov     %rbx, %rsp
        .cfi_def_cfa_register %rsp
        pop     %rbx
        .cfi_def_cfa_offset 8
        .cfi_restore %rbx
        ret
        .cfi_endproc
        .size frame_on_rbx, . - frame_on_rbx

/* void frame_on_r12(void (*)(void)): CFA = DW_OP_breg12 16. */
        .globl frame_on_r12
        .type frame_on_r12, @function
frame_on_r12:
        .cfi_startproc
        push    %r12
        .cfi_def_cfa_offset 16
        .cfi_offset %r12, -16
        mov     %rsp, %r12
        .cfi_escape 0x0f, 0x02, 0x7c, 0x10
        sub     $32, %rsp
        and     $-32, %rsp
        call    *%rdi
        mov     %r12, %rsp
        .cfi_def_cfa %rsp, 16
        pop     %r12
        .cfi_def_cfa_offset 8
        .cfi_restore %r12
        ret
        .cfi_endproc
        .size frame_on_r12, . - frame_on_r12

/* void frame_on_stack_slot(void (*)(void)): openssl's realigned frames keep the caller's stack
 * pointer in a slot: DW_OP_breg7 8; DW_OP_deref; DW_OP_plus_uconst 8. */
        .globl frame_on_stack_slot
        .type frame_on_stack_slot, @function
frame_on_stack_slot:
        .cfi_startproc
        mov     %rsp, %rax
        sub     $64, %rsp
        .cfi_def_cfa_offset 72
        and     $-64, %rsp
        mov     %rax, 8(%rsp)
        .cfi_escape 0x0f, 0x05, 0x77, 0x08, 0x06, 0x23, 0x08
        call    *%rdi
        mov     8(%rsp), %rsp
        .cfi_def_cfa %rsp, 8
        ret
        .cfi_endproc
        .size frame_on_stack_slot, . - frame_on_stack_slot

/* void frame_mistold(void (*)(void)): the CFI says that the frame is a word smaller. */
        .globl frame_mistold
        .type frame_mistold, @function
frame_mistold:
        .cfi_startproc
        sub     $24, %rsp
        .cfi_def_cfa_offset 24
        movq    $0x1234567, 16(%rsp)
        call    *%rdi
        add     $24, %rsp
        .cfi_def_cfa_offset 8
        ret
        .cfi_endproc
        .size frame_mistold, . - frame_mistold

/* void frame_tail_call(void (*)(void)) */
        .globl frame_tail_call
        .type frame_tail_call, @function
frame_tail_call:
        .cfi_startproc
        jmp     *%rdi
        .cfi_endproc
        .size frame_tail_call, . - frame_tail_call

/* void enter_on_bare_stack(void *top, void (*entry)(void)): runs entry with its return address in
 * the last word below `top`, and says in its CFI that its own caller's lies in the word above,
 * where the stack has ended: what a home-made coroutine's first frame looks like. */
        .globl enter_on_bare_stack
        .type enter_on_bare_stack, @function
enter_on_bare_stack:
        .cfi_startproc
        push    %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        mov     %rsp, %rbp
        .cfi_def_cfa_register %rbp
        mov     %rdi, %rsp
        .cfi_remember_state
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbp
        call    *%rsi
        nop
        .cfi_restore_state
        mov     %rbp, %rsp
        pop     %rbp
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size enter_on_bare_stack, . - enter_on_bare_stack

#endif

        .section .note.GNU-stack, "", @progbits
