/*
 * The least guest that a micro-VM of hyperlight-host starts up with: it tells where calls go, and
 * halts. It does no work, calls no host function and is never called again.
 *
 * The whole file is laid out here, ELF header included, so that it is one loadable segment at
 * address 0 whatever the linker's defaults are: `gcc -c`, then `objcopy -O binary`. It carries no
 * version note, so no release takes it for a guest of another release.
 *
 * Newer releases (0.18.0 for one) call it before a snapshot, and want more of it, at the start and
 * at each call: a buffer in the queue of calls, and a word in a mailbox that says so. -DQUEUES makes
 * the guest for those. All of that lies in the scratch memory, whose layout follows from the
 * default sizes of the queues.
 */
        .set ET_DYN, 3
        .set EM_X86_64, 62
        .set PT_LOAD, 1
        .set PF_R_X, 5
        .set PAGE, 4096
        .set STACK_ALIGNMENT, 16

        .set SCRATCH_TOP, -PAGE         /* the end of the scratch memory; its size is the last word */
        .set SCRATCH_SIZE, -8
        .set QUEUE, 0x410               /* of calls, from the start of the scratch memory; packed */
        .set MAILBOX, 0x618
        .set POOL, 0xd000
        .set DESCRIPTOR_LENGTH, 8       /* a packed virtqueue's descriptor: address, length, */
        .set DESCRIPTOR_ID, 12          /* id and flags */
        .set DESCRIPTOR_FLAGS, 14
        .set WRITE_AND_AVAILABLE, 0x82
        .set CHECKPOINT_COMPLETE, 1

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
serve:
#ifdef QUEUES
        mov     $SCRATCH_TOP, %rcx
        mov     %rcx, %rdx
        sub     SCRATCH_SIZE(%rcx), %rdx
        lea     POOL(%rdx), %rcx
        mov     %rcx, QUEUE(%rdx)
        movl    $PAGE, QUEUE + DESCRIPTOR_LENGTH(%rdx)
        movw    $0, QUEUE + DESCRIPTOR_ID(%rdx)
        movw    $WRITE_AND_AVAILABLE, QUEUE + DESCRIPTOR_FLAGS(%rdx)
        movq    $CHECKPOINT_COMPLETE, MAILBOX(%rdx)
#endif
        hlt
        jmp     serve
file_end:
