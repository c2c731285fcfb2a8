/*
 * vm_cpu.c: a virtual CPU in long mode, and the host's end of its ports. See vm_cpu.h.
 *
 * An access to a port is finished by KVM only at the next run, and registers that are read or set
 * before that are not what they seem. So whatever is half done is finished first.
 */
#include "supervisor/vm_cpu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __x86_64__
#include <asm/processor-flags.h>
#endif

#include "supervisor/error.h"
#include "supervisor/guest_abi.h"

_Static_assert(GUEST_PAGE_BYTES == GUEST_PAGE, "guest.S and its host agree on the page");
_Static_assert(GUEST_PAGE_BYTES % GUEST_SUM_BYTES == 0, "pages can be summed");
_Static_assert((int)VM_STOP == GUEST_COMMAND_STOP && (int)VM_SUM == GUEST_COMMAND_SUM &&
                   (int)VM_WRITE == GUEST_COMMAND_WRITE && (int)VM_CALL == GUEST_COMMAND_CALL,
               "guest.S and its host agree on the commands");

/* guest.S */
extern const uint8_t guest_image[];
extern const uint32_t guest_image_bytes;

/* One request on its way to the guest, and its answer on the way back, in 32-bit halves. */
struct talk {
    uint32_t request[2 * GUEST_REQUEST_WORDS];
    size_t asked;
    uint32_t answer[2];
    size_t answered;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#ifdef __x86_64__

/* Bits of a page table's entry and of EFER: Intel's manual, volume 3, 4.5 and 2.2.1; the same in
 * AMD's, volume 2, 5.3 and 3.1.7. No header that programs may use has them. */
#define PAGE_PRESENT UINT64_C(0x1)
#define PAGE_WRITABLE UINT64_C(0x2)
#define PAGE_IS_LARGE UINT64_C(0x80)
#define LARGE_PAGE (UINT64_C(2) << 20)
#define TABLE_ENTRIES 512
#define EFER_LONG_MODE_ENABLE UINT64_C(0x100)
#define EFER_LONG_MODE_ACTIVE UINT64_C(0x400)

/* Selectors that no descriptor table backs: the guest loads none. */
#define CODE_SELECTOR 0x8
#define DATA_SELECTOR 0x10

/* Types of a segment: ibid., volume 3, 3.4.5.1. */
#define CODE_READABLE_ACCESSED 11
#define DATA_WRITABLE_ACCESSED 3

#define DIRECTORIES (GUEST_ADDRESS_END / (TABLE_ENTRIES * LARGE_PAGE))
_Static_assert(GUEST_DIRECTORY_ADDRESS + DIRECTORIES * GUEST_PAGE_BYTES <= GUEST_CODE_ADDRESS,
               "the tables end before the code");

int vm_cpu_supported(struct error *error)
{
    (void)error;
    return 0;
}

static void put_entry(uint8_t *memory, uint64_t table, unsigned index, uint64_t entry)
{
    memcpy(memory + table + index * sizeof(entry), &entry, sizeof(entry));
}

void vm_cpu_load_guest(uint8_t *memory)
{
    const uint64_t is_table = PAGE_PRESENT | PAGE_WRITABLE;

    put_entry(memory, GUEST_PML4_ADDRESS, 0, GUEST_PDPT_ADDRESS | is_table);
    for (unsigned i = 0; i < DIRECTORIES; i++)
        put_entry(memory, GUEST_PDPT_ADDRESS, i,
                  (GUEST_DIRECTORY_ADDRESS + i * GUEST_PAGE) | is_table);
    /* The directories follow one another, so they are one table of all large pages. */
    for (unsigned i = 0; i < DIRECTORIES * TABLE_ENTRIES; i++)
        put_entry(memory, GUEST_DIRECTORY_ADDRESS, i, i * LARGE_PAGE | is_table | PAGE_IS_LARGE);
    memcpy(memory + GUEST_CODE_ADDRESS, guest_image, guest_image_bytes);
}

static void set_long_mode(struct vm_cpu_state *state)
{
    const struct kvm_segment code = {
        .limit = UINT32_MAX,
        .selector = CODE_SELECTOR,
        .type = CODE_READABLE_ACCESSED,
        .present = 1,
        .s = 1,
        .l = 1,
        .g = 1,
    };
    const struct kvm_segment data = {
        .limit = UINT32_MAX,
        .selector = DATA_SELECTOR,
        .type = DATA_WRITABLE_ACCESSED,
        .present = 1,
        .db = 1,
        .s = 1,
        .g = 1,
    };
    struct kvm_sregs *special = &state->special;

    special->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
    special->cr3 = GUEST_PML4_ADDRESS;
    special->cr4 = X86_CR4_PAE;
    special->efer = EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
    special->cs = code;
    special->ds = special->es = special->fs = special->gs = special->ss = data;
    state->general = (struct kvm_regs){
        .rip = GUEST_CODE_ADDRESS,
        .rsp = GUEST_MEMORY_BYTES,
        .rflags = X86_EFLAGS_FIXED,
    };
}

#else

int vm_cpu_supported(struct error *error)
{
    return error_set(error, 0, "VM sandboxes run on x86-64 only");
}

void vm_cpu_load_guest(uint8_t *memory)
{
    (void)memory;
}

static void set_long_mode(struct vm_cpu_state *state)
{
    (void)state;
}

#endif

int vm_cpu_open(struct vm_cpu *cpu, int vm, size_t run_bytes, struct error *error)
{
    *cpu = VM_CPU_NONE;
    cpu->fd = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (cpu->fd < 0)
        return error_set(error, errno, "KVM_CREATE_VCPU");
    if (owned_map_make(&cpu->shared, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0) !=
        0)
        return error_set(error, errno, "mmap of the virtual CPU");
    cpu->run = cpu->shared.start;
    return 0;
}

void vm_cpu_close(struct vm_cpu *cpu)
{
    owned_map_drop(&cpu->shared);
    owned_fd_close(&cpu->fd);
    cpu->run = NULL;
}

/* Lets KVM finish the access to a port that the guest stopped at, and nothing more. */
static int settle(struct vm_cpu *cpu, struct error *error)
{
    cpu->run->immediate_exit = 1;

    int result = ioctl(cpu->fd, KVM_RUN, 0);
    int reason = errno;

    cpu->run->immediate_exit = 0;
    if (result == 0 || reason == EINTR)
        return 0;
    return error_set(error, reason, "KVM_RUN");
}

int vm_cpu_save(struct vm_cpu *cpu, struct vm_cpu_state *state, struct error *error)
{
    if (settle(cpu, error) != 0)
        return -1;
    if (ioctl(cpu->fd, KVM_GET_REGS, &state->general) != 0)
        return error_set(error, errno, "KVM_GET_REGS");
    if (ioctl(cpu->fd, KVM_GET_SREGS, &state->special) != 0)
        return error_set(error, errno, "KVM_GET_SREGS");
    return 0;
}

int vm_cpu_load(struct vm_cpu *cpu, const struct vm_cpu_state *state, struct error *error)
{
    if (settle(cpu, error) != 0)
        return -1;
    if (ioctl(cpu->fd, KVM_SET_SREGS, &state->special) != 0)
        return error_set(error, errno, "KVM_SET_SREGS");
    if (ioctl(cpu->fd, KVM_SET_REGS, &state->general) != 0)
        return error_set(error, errno, "KVM_SET_REGS");
    return 0;
}

int vm_cpu_reset(struct vm_cpu *cpu, struct error *error)
{
    struct vm_cpu_state state;

    if (vm_cpu_save(cpu, &state, error) != 0)
        return -1;
    set_long_mode(&state);
    return vm_cpu_load(cpu, &state, error);
}

static void print(char console[VM_CONSOLE_BYTES], const char *text, size_t bytes)
{
    size_t length = strlen(console);
    size_t fits = VM_CONSOLE_BYTES - 1 - length;

    if (bytes > fits)
        bytes = fits;
    memcpy(console + length, text, bytes);
    console[length + bytes] = '\0';
}

/* One access of the guest to a port: an instruction's worth, or what KVM makes of a long one. */
static int serve_port(struct kvm_run *run, struct talk *talk, char console[VM_CONSOLE_BYTES],
                      struct error *error)
{
    char *data = (char *)run + run->io.data_offset;
    size_t count = run->io.count;
    bool is_out = run->io.direction == KVM_EXIT_IO_OUT;

    if (run->io.port == GUEST_PORT_CONSOLE && is_out && run->io.size == 1) {
        print(console, data, count);
        return 0;
    }
    if (run->io.port == GUEST_PORT_TALK && run->io.size == sizeof(uint32_t)) {
        if (is_out && count <= COUNT(talk->answer) - talk->answered) {
            memcpy(&talk->answer[talk->answered], data, count * sizeof(uint32_t));
            talk->answered += count;
            return 0;
        }
        if (!is_out && count <= COUNT(talk->request) - talk->asked) {
            memcpy(data, &talk->request[talk->asked], count * sizeof(uint32_t));
            talk->asked += count;
            return 0;
        }
    }
    return error_set(error, 0, "the guest used port %#x out of turn", run->io.port);
}

static int run_once(struct vm_cpu *cpu, struct error *error)
{
    while (ioctl(cpu->fd, KVM_RUN, 0) != 0) {
        if (errno == EFAULT)
            return error_set(error, 0,
                             "the guest used memory that the host no longer has: a mapped file "
                             "became shorter");
        if (errno != EINTR && errno != EAGAIN)
            return error_set(error, errno, "KVM_RUN");
    }
    return 0;
}

static struct talk new_talk(const struct vm_request *request)
{
    const uint64_t words[GUEST_REQUEST_WORDS] = {request->work, request->address, request->bytes,
                                                 request->value};
    struct talk talk = {0};

    for (size_t i = 0; i < GUEST_REQUEST_WORDS; i++) {
        talk.request[2 * i] = (uint32_t)words[i];
        talk.request[2 * i + 1] = (uint32_t)(words[i] >> 32);
    }
    return talk;
}

/* Why the guest stopped without an answer. */
static int unexpected_exit(const struct kvm_run *run, struct error *error)
{
    switch (run->exit_reason) {
    case KVM_EXIT_HLT:
        return error_set(error, 0, "the guest has halted");
    case KVM_EXIT_MMIO:
        return error_set(error, 0, "the guest %s address %#" PRIx64 ", where it has no %s",
                         run->mmio.is_write ? "wrote to" : "read from",
                         (uint64_t)run->mmio.phys_addr,
                         run->mmio.is_write ? "writable memory" : "memory");
    case KVM_EXIT_SHUTDOWN:
        return error_set(error, 0, "the guest crashed");
    default:
        return error_set(error, 0, "KVM stopped the guest, exit reason %u", run->exit_reason);
    }
}

int vm_cpu_ask(struct vm_cpu *cpu, const struct vm_request *request, uint64_t *answer,
               char console[VM_CONSOLE_BYTES], struct error *error)
{
    struct talk talk = new_talk(request);

    while (talk.answered < COUNT(talk.answer)) {
        if (run_once(cpu, error) != 0)
            return -1;
        if (cpu->run->exit_reason == KVM_EXIT_HLT && request->work == VM_STOP &&
            talk.asked == COUNT(talk.request))
            return 0;
        if (cpu->run->exit_reason != KVM_EXIT_IO)
            return unexpected_exit(cpu->run, error);
        if (serve_port(cpu->run, &talk, console, error) != 0)
            return -1;
    }
    *answer = talk.answer[0] | (uint64_t)talk.answer[1] << 32;
    return 0;
}
