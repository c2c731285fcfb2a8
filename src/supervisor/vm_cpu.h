/*
 * vm_cpu.h: the one virtual CPU of a VM: how it is put into long mode, runs, and talks to its host
 * by the ports of guest_abi.h. It maps no guest memory.
 *
 * Results: 0, or -1 with the reason in *error.
 */
#ifndef SUPERVISOR_VM_CPU_H
#define SUPERVISOR_VM_CPU_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/owned.h"
#include "supervisor/vm.h"

/* What a guest has printed is kept up to here. */
#define VM_CONSOLE_BYTES 256

struct vm_cpu {
    int fd;
    struct mapping shared; /* with the kernel */
    struct kvm_run *run;   /* in that: why the last run ended */
};

#define VM_CPU_NONE ((struct vm_cpu){.fd = -1})

/* All that the guest of guest.S has: it uses general registers only. */
struct vm_cpu_state {
    struct kvm_regs general;
    struct kvm_sregs special;
};

/* -1: this machine is none that guest.S is written for. */
int vm_cpu_supported(struct error *error);

/* `run_bytes` is KVM_GET_VCPU_MMAP_SIZE. After a failure, too, the end is vm_cpu_close. */
int vm_cpu_open(struct vm_cpu *cpu, int vm, size_t run_bytes, struct error *error);
void vm_cpu_close(struct vm_cpu *cpu);

/* Puts tables and code into guest memory, GUEST_MEMORY_BYTES of it and zero so far. */
void vm_cpu_load_guest(uint8_t *memory);

/* In long mode, before the guest's first instruction. */
int vm_cpu_reset(struct vm_cpu *cpu, struct error *error);

/* Runs the guest until it has answered, or halted where it was told to. What it prints is added to
 * `console`, a string. */
int vm_cpu_ask(struct vm_cpu *cpu, const struct vm_request *request, uint64_t *answer,
               char console[VM_CONSOLE_BYTES], struct error *error);

int vm_cpu_save(struct vm_cpu *cpu, struct vm_cpu_state *state, struct error *error);
int vm_cpu_load(struct vm_cpu *cpu, const struct vm_cpu_state *state, struct error *error);

#endif
