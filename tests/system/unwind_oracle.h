/*
 * unwind_oracle.h: what the parts of unwind_oracle share.
 */
#ifndef BOXLEDGER_TESTS_UNWIND_ORACLE_H
#define BOXLEDGER_TESTS_UNWIND_ORACLE_H

#ifdef __cplusplus
extern "C" {
#endif

/* Captures the caller's stack and compares it with the oracle's, as the current case demands. */
void take(void);

/* unwind_oracle_throw.cc, in a shared object: takes in destructors and handlers of exceptions. */
void throw_and_catch(int depth);

/* unwind_oracle_frames.S: frames that no compiler makes. Each calls `callback` once. */
void frame_on_rbx(void (*callback)(void));        /* CFA = rbx + 16: layer 3's */
void frame_on_r12(void (*callback)(void));        /* CFA by an expression on r12: layer 3's */
void frame_on_stack_slot(void (*callback)(void)); /* CFA = *(rsp + 8) + 8, as openssl's */
void frame_mistold(void (*callback)(void));       /* its CFI is wrong by a word */
void frame_tail_call(void (*callback)(void));     /* jumps: leaves no frame */
void enter_on_bare_stack(void *top, void (*entry)(void)); /* nothing above `entry`'s frame */

#ifdef __cplusplus
}
#endif

#endif
