/*
 * guest_abi.h: what guest.S and its host agree on: addresses, ports, commands. Only #defines, since
 * the assembler reads it too.
 *
 * The guest asks for its work by 32-bit reads of one port, two for each 64-bit word, the low half
 * first: a command, an address, a number of bytes, a value. It answers with one such word, and asks
 * again. They are string instructions, so that a request is one exit to the host, not eight.
 */
#ifndef SUPERVISOR_GUEST_ABI_H
#define SUPERVISOR_GUEST_ABI_H

/* The guest's own memory, from guest address 0: the tables that map every address to itself, then
 * its code, then its stack, which grows down from the end. */
#define GUEST_PML4_ADDRESS 0x1000
#define GUEST_PDPT_ADDRESS 0x2000
#define GUEST_DIRECTORY_ADDRESS 0x3000 /* one page for each GiB */
#define GUEST_CODE_ADDRESS 0x8000
#define GUEST_MEMORY_BYTES 0x10000

/* Addresses end here: two page directories' worth. */
#define GUEST_ADDRESS_END 0x80000000

#define GUEST_PORT_CONSOLE 0xe9 /* bytes to be read by people */
#define GUEST_PORT_TALK 0xea

#define GUEST_COMMAND_STOP 0  /* halts; no answer */
#define GUEST_COMMAND_SUM 1   /* answers the sum of the range's 64-bit words */
#define GUEST_COMMAND_WRITE 2 /* puts the value at the start of each page; answers how many */
#define GUEST_COMMAND_CALL 3  /* calls the address; answers what that leaves in rax */

#define GUEST_REQUEST_WORDS 4
#define GUEST_SUM_BYTES 64 /* the size and the start of what is summed are multiples of it */
#define GUEST_PAGE_BYTES 0x1000

#endif
