/*
 * The least guest that a micro-VM of hyperlight-host starts up with: it tells where calls go, and
 * halts. It does no work, calls no host function and is never called again.
 *
 * The whole file is laid out here, ELF header included, so that it is one loadable segment at
 * address 0 whatever the linker's defaults are: `gcc -c`, then `objcopy -O binary`. It carries no
 * version note, so no release takes it for a guest of another release.
 */
        .set ET_DYN, 3
        .set EM_X86_64, 62
        .set PT_LOAD, 1
        .set PF_R_X, 5
        .set PAGE, 4096
        .set STACK_ALIGNMENT, 16

        .text
file:   .byte 0x7f, 'E', 'L', 'F'
        .byte 2, 1, 1, 0                /* 64 bits, little endian, version 1, System V */
        .quad 0
        .short ET_DYN, EM_X86_64
        .long 1
        .quad entry - file
        .quad segments - file
        .quad 0                         /* no sections */
        .long 0
        .short segments - file, segments_end - segments
        .short 1                        /* segments */
        .short 64, 0, 0                 /* a section header's size, their number, their names */

segments:
        .long PT_LOAD, PF_R_X
        .quad 0, 0, 0                   /* offset, virtual and physical address */
        .quad file_end - file, file_end - file
        .quad PAGE
segments_end:

/* Entered as a function: the stack pointer is 8 off. The host wants it aligned at the halt, and in
 * rax the address of the function that serves its calls. */
entry:  and     $-STACK_ALIGNMENT, %rsp
        lea     serve(%rip), %rax
serve:  hlt
        jmp     serve
file_end:
