/*
 * wrap_vfork.S: vfork(2), which returns twice on one stack and so cannot be written in C.
 *
 * While the child runs on our memory, shim.vm_children is raised: only then do wrappers ask which
 * process they are in. The parent, which the kernel wakes when the child has gone or exec'ed,
 * takes it back, and tells of the child. What must outlive the child's run is in registers: the
 * kernel gives the parent its own back, and the stack below is the child's until then.
 */
#if defined(__x86_64__)
    .text
    .globl vfork
    .type vfork, @function
    .balign 16
vfork:
    .cfi_startproc
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    call shim_child_ticket
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    movl %eax, %esi
    popq %rdi /* the return address: the child's own returns will overwrite its place */
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rdi
    lock incl shim+8(%rip)
    movl $58, %eax /* __NR_vfork */
    syscall
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rip, 0
    testq %rax, %rax
    je 1f
    lock decl shim+8(%rip)
    movq %rax, %rdi
    jmp shim_vforked
1:  ret
    .cfi_endproc
    .size vfork, .-vfork
    .hidden shim
    .hidden shim_child_ticket
    .hidden shim_vforked
#elif defined(__aarch64__)
    .text
    .globl vfork
    .type vfork, %function
    .balign 16
vfork:
    .cfi_startproc
    stp x29, x30, [sp, #-16]!
    .cfi_adjust_cfa_offset 16
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    bl shim_child_ticket
    ldp x29, x30, [sp], #16
    .cfi_adjust_cfa_offset -16
    .cfi_restore x29
    .cfi_restore x30
    mov w12, w0
    adrp x9, shim
    add x9, x9, :lo12:shim
    add x9, x9, #8
1:  ldxr w10, [x9]
    add w10, w10, #1
    stxr w11, w10, [x9]
    cbnz w11, 1b
    mov x0, #0x4111 /* CLONE_VM | CLONE_VFORK | SIGCHLD */
    mov x1, #0
    mov x2, #0
    mov x3, #0
    mov x4, #0
    mov x8, #220 /* __NR_clone */
    svc #0
    cbz x0, 3f
2:  ldxr w10, [x9]
    sub w10, w10, #1
    stxr w11, w10, [x9]
    cbnz w11, 2b
    mov w1, w12
    b shim_vforked
3:  ret
    .cfi_endproc
    .size vfork, .-vfork
    .hidden shim
    .hidden shim_child_ticket
    .hidden shim_vforked
#endif
    .section .note.GNU-stack, "", %progbits
