/*
 * guest.S: the program inside a VM sandbox, a few hundred bytes in long mode. It asks the host for
 * work by port I/O, does it and answers; guest_abi.h has the terms. It has no interrupts, no
 * devices and no memory but what its host maps, and is copied to GUEST_CODE_ADDRESS.
 */
#include "supervisor/guest_abi.h"

    .section .rodata
    .globl guest_image_start
    .globl guest_image_end

#ifdef __x86_64__
    .code64
guest_image_start:
    leaq greeting(%rip), %rsi
greet:
    lodsb
    testb %al, %al
    jz next
    outb %al, $GUEST_PORT_CONSOLE
    jmp greet

next:
    call receive
    movq %rax, %r8              /* command */
    call receive
    movq %rax, %rdi             /* address, then the cursor */
    call receive
    leaq (%rdi, %rax), %rsi     /* the range's end */
    call receive
    movq %rax, %rdx             /* value */
    xorl %eax, %eax             /* the answer */
    cmpq $GUEST_COMMAND_SUM, %r8
    je sum
    cmpq $GUEST_COMMAND_WRITE, %r8
    je write
    cmpq $GUEST_COMMAND_CALL, %r8
    je call_address
halt:
    hlt
    jmp halt

sum:
    cmpq %rsi, %rdi
    jae answer
    addq (%rdi), %rax
    addq $8, %rdi
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
    outl %eax, $GUEST_PORT_TALK
    shrq $32, %rax
    outl %eax, $GUEST_PORT_TALK
    jmp next

receive:                        /* a 64-bit word, in rax */
    inl $GUEST_PORT_TALK, %eax
    movl %eax, %ecx
    inl $GUEST_PORT_TALK, %eax
    shlq $32, %rax
    orq %rcx, %rax
    ret

greeting:
    .asciz "guest: in long mode\n"
guest_image_end:
#else
/* Another machine: nothing to run, and vm_cpu.c says so. */
guest_image_start:
guest_image_end:
#endif

    .section .note.GNU-stack, "", %progbits
