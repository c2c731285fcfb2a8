/*
 * guest.S: the program inside a VM sandbox, a few hundred bytes in long mode. It asks the host for
 * work by port I/O, does it and answers; guest_abi.h has the terms. It has no interrupts, no
 * devices and no memory but what its host maps, and is copied to GUEST_CODE_ADDRESS.
 */
#include "supervisor/guest_abi.h"

    .section .rodata
    .globl guest_image
    .globl guest_image_bytes

#ifdef __x86_64__
    .code64
guest_image:
    leaq greeting(%rip), %rsi
    movl $(greeting_end - greeting), %ecx
    movl $GUEST_PORT_CONSOLE, %edx
    rep outsb

next:                           /* a request, onto the stack */
    movl $GUEST_MEMORY_BYTES - GUEST_REQUEST_WORDS * 8, %esp
    movq %rsp, %rdi
    movl $(2 * GUEST_REQUEST_WORDS), %ecx
    movl $GUEST_PORT_TALK, %edx
    rep insl
    popq %rcx                   /* command */
    popq %rdi                   /* address, then the cursor */
    popq %rsi
    addq %rdi, %rsi             /* the range's end */
    popq %rdx                   /* value */
    xorl %eax, %eax             /* the answer */
    cmpl $GUEST_COMMAND_SUM, %ecx
    je sum
    cmpl $GUEST_COMMAND_WRITE, %ecx
    je write
    cmpl $GUEST_COMMAND_CALL, %ecx
    je call_address
halt:
    hlt
    jmp halt

sum:                            /* GUEST_SUM_BYTES at a time */
    cmpq %rsi, %rdi
    jae answer
    addq (%rdi), %rax
    addq 8(%rdi), %rax
    addq 16(%rdi), %rax
    addq 24(%rdi), %rax
    addq 32(%rdi), %rax
    addq 40(%rdi), %rax
    addq 48(%rdi), %rax
    addq 56(%rdi), %rax
    addq $GUEST_SUM_BYTES, %rdi
    jmp sum

write:
    cmpq %rsi, %rdi
    jae answer
    movq %rdx, (%rdi)
    addq $GUEST_PAGE_BYTES, %rdi
    incq %rax
    jmp write

call_address:
    call *%rdi

answer:
    pushq %rax
    movq %rsp, %rsi
    movl $2, %ecx
    movl $GUEST_PORT_TALK, %edx
    rep outsl
    jmp next

greeting:
    .ascii "guest: in long mode\n"
greeting_end:
guest_image_end:
#else
/* Another machine: nothing to run, and vm_cpu.c says so. */
guest_image:
guest_image_end:
#endif

    .balign 4
guest_image_bytes:
    .long guest_image_end - guest_image

    .section .note.GNU-stack, "", %progbits
