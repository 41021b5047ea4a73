/* A libnvidia-ml that plays a driver and its GPUs, for the real binding. What it plays is chosen by words, separated
 * by spaces, in NVML_STUB; they may change while it runs:
 *   no-driver   it can't be initialised                 unsupported     knows no MIG, ECC, energy, power or processes
 *   no-gpu      there is none                           no-permission   won't tell of MIG, ECC or processes
 *   baffled     takes questions about MIG, ECC and energy for invalid
 *   two         a second GPU of the same kind           unequal         two GPUs, the second smaller
 *   mig         the first GPU has one slice             slices          it has two
 *   throttled   power brake and power cap               thermal         hot, slow and slowed down by it
 *   idle        clocks low for want of work             odd-reason      a reason that nobody has heard of
 *   ecc         three more corrected errors, one not    reloaded        the energy counter began anew
 *   own         this process computes on the GPU        graphics        it draws as well, and that needs more
 *   host        this process, by its id on the host     foreign, more   one or two processes of others
 *   lost        the GPU is lost                         hang            clocks are asked for in vain
 *   volatile    persistence mode is off                 prohibited      its compute mode allows no process
 *   pending     rows are to be remapped                 broken          a remap has failed
 *   pages       pages are to be retired                 mps             two clients of MPS
 *   uncounted   counts no time that clocks were held    policies        counts it in the older way alone
 *   renumbered  its fields have other numbers           averaged        tells power as an average alone
 *   util        tells the time that processes use       working         that of others is much
 *   busy        the GPU as a whole is at work           grown           the other process holds more
 *   xorg        another process draws                   vgpu            a part of a GPU, for a virtual machine
 *   remapped    two more rows are remapped              retired         one more page is retired
 *   xid         one Xid event has come                  deaf            lets nobody hear of events
 *   exclusive   one process alone may use it            unknown         says "unknown error" to everything
 *   mismatch    another version than its kernel module  far             the GPU is next to cores 2 and 3
 *   roomy       a GPU of 80 GiB                         taken           it can't be initialised: "unknown error"
 * NVML_STUB_LOST_AFTER=N: the GPU is lost after N calls. stub_reset() begins to count anew, stub_inits() says how
 * often it was initialised. Compiled with -DOLD it lacks what drivers of some years ago lacked, with -DNEXT what
 * CUDA 14 removes. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 6, INSUFFICIENT_SIZE,
       NOT_LOADED = 9, TIMEOUT = 10, LOST = 15, MISMATCH = 18, UNKNOWN = 999 };
typedef unsigned long long u64;
typedef struct { const char *uuid, *name; int slice; u64 total, used; } gpu_t;
typedef struct { u64 total, free, used; } memory_t;
typedef struct { unsigned pid; u64 used; unsigned instance, compute; } process_t;

static gpu_t BOARDS[] = {{"GPU-1234", "NVIDIA Stub 1", 0, 1000, 300}, {"GPU-1299", "NVIDIA Stub 1", 0, 1000, 10}};
static gpu_t SMALLER = {"GPU-1299", "NVIDIA Stub 0", 0, 500, 10};
static gpu_t SLICES[] = {{"MIG-7700", "NVIDIA Stub 1 MIG 1g.125", 1, 125, 50}, {"MIG-7755", "NVIDIA Stub 1 MIG 1g.125", 1, 125, 5}};
static int calls, inits;

static int plays(const char *word) {
    const char *all = getenv("NVML_STUB"), *at = all;
    size_t n = strlen(word);
    while (at && (at = strstr(at, word))) {
        if ((at == all || at[-1] == ' ') && (at[n] == ' ' || !at[n])) return 1;
        at += n;
    }
    return 0;
}
static int boards(void) { return plays("no-gpu") ? 0 : plays("two") || plays("unequal") ? 2 : 1; }
static int slices(void) { return plays("slices") ? 2 : plays("mig"); }
static gpu_t *board(int i) { return i == 1 && plays("unequal") ? &SMALLER : &BOARDS[i]; }
static int gone(void) {
    const char *after = getenv("NVML_STUB_LOST_AFTER");
    if (plays("unknown")) return UNKNOWN;
    return (after && calls++ >= atoi(after)) || plays("lost") ? LOST : SUCCESS;
}
static int copy(char *out, unsigned n, const char *text) { strncpy(out, text, n); return SUCCESS; }

/* A question to a GPU; one that only a whole GPU answers; one that not every driver answers. */
#define ANSWER(...) { int lost = gone(); (void)d; if (lost) return lost; __VA_ARGS__; return SUCCESS; }
#define WHOLE(...) ANSWER(if (d->slice) return INVALID_ARGUMENT; __VA_ARGS__)
#define RARE(...) WHOLE(if (plays("unsupported")) return NOT_SUPPORTED; if (plays("no-permission")) return NO_PERMISSION; \
    if (plays("baffled")) return INVALID_ARGUMENT; __VA_ARGS__)

void stub_reset(void) { calls = 0; }
int stub_inits(void) { return inits; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; inits++; return plays("no-driver") ? NOT_LOADED : plays("mismatch") ? MISMATCH : plays("taken") ? UNKNOWN : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "?"; }
int nvmlSystemGetDriverVersion(char *out, unsigned n) { return copy(out, n, "580.65.06"); }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12040; return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *n) { *n = boards(); return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, gpu_t **d) {
    if ((int)i >= boards()) return INVALID_ARGUMENT;
    *d = board(i);
    return gone();
}
int nvmlDeviceGetHandleByUUID(const char *uuid, gpu_t **d) {
    for (int i = 0; i < boards(); i++) if (!strcmp(uuid, board(i)->uuid)) { *d = board(i); return gone(); }
    for (int i = 0; i < slices(); i++) if (!strcmp(uuid, SLICES[i].uuid)) { *d = &SLICES[i]; return gone(); }
    return NOT_FOUND;
}
int nvmlDeviceGetName(gpu_t *d, char *out, unsigned n) ANSWER(copy(out, n, d->name))
int nvmlDeviceGetUUID(gpu_t *d, char *out, unsigned n) ANSWER(copy(out, n, d->uuid))
int nvmlDeviceGetMemoryInfo(gpu_t *d, memory_t *m) ANSWER(m->total = plays("roomy") ? 80ull << 30 : d->total; m->used = d->used; m->free = m->total - d->used)

int nvmlDeviceGetEccMode(gpu_t *d, unsigned *now, unsigned *next) RARE(*now = *next = 1)
int nvmlDeviceGetCurrPcieLinkGeneration(gpu_t *d, unsigned *n) WHOLE(*n = 4)
int nvmlDeviceGetMaxPcieLinkGeneration(gpu_t *d, unsigned *n) WHOLE(*n = 5)
int nvmlDeviceGetCurrPcieLinkWidth(gpu_t *d, unsigned *n) WHOLE(*n = 8)
int nvmlDeviceGetMaxPcieLinkWidth(gpu_t *d, unsigned *n) WHOLE(*n = 16)
int nvmlDeviceGetMaxClockInfo(gpu_t *d, int kind, unsigned *mhz) WHOLE(*mhz = kind == 1 ? 1980 : 2619)
int nvmlDeviceGetEnforcedPowerLimit(gpu_t *d, unsigned *mw) WHOLE(if (plays("unsupported")) return NOT_SUPPORTED; *mw = 700000)

int nvmlDeviceGetClockInfo(gpu_t *d, int kind, unsigned *mhz)
    WHOLE(while (plays("hang")) usleep(1000); *mhz = kind == 2 ? 2619 : plays("idle") ? 345 : plays("thermal") ? 1200 : 1980)
int nvmlDeviceGetPowerUsage(gpu_t *d, unsigned *mw) WHOLE(if (plays("unsupported")) return NOT_SUPPORTED; *mw = plays("idle") ? 80500 : 650500)
int nvmlDeviceGetTotalEccErrors(gpu_t *d, int kind, int counter, u64 *n)
    RARE(if (counter) return NOT_SUPPORTED; *n = plays("ecc") ? (kind ? 1 : 5) : (kind ? 0 : 2))

int nvmlDeviceGetPersistenceMode(gpu_t *d, unsigned *on) RARE(*on = !plays("volatile"))
int nvmlDeviceGetComputeMode(gpu_t *d, unsigned *mode) WHOLE(*mode = plays("prohibited") ? 2 : plays("exclusive") ? 3 : 0)
int nvmlDeviceGetRetiredPagesPendingStatus(gpu_t *d, unsigned *is) RARE(*is = plays("pages"))

static int reasons(gpu_t *d, u64 *mask)
    WHOLE(*mask = plays("throttled") ? 0x84 : plays("thermal") ? 0x68 : plays("idle") ? 0x1 : plays("odd-reason") ? 0x8000 : 0)
static int temperature(gpu_t *d, int *c) WHOLE(*c = plays("thermal") ? 92 : 45)
#ifndef NEXT
int nvmlDeviceGetCurrentClocksThrottleReasons(gpu_t *d, u64 *mask) { return reasons(d, mask); }
int nvmlDeviceGetTemperature(gpu_t *d, int sensor, int *c) { (void)sensor; return temperature(d, c); }
#endif

static int listed(gpu_t *d, unsigned *n, process_t *out, int drawing) {
    process_t all[4];
    unsigned found = 0;
    int lost = gone();
    if (lost) return lost;
    if (plays("unsupported")) return NOT_SUPPORTED;
    if (plays("no-permission")) return NO_PERMISSION;
    if (d != board(0) && !d->slice) { *n = 0; return SUCCESS; }
    if (drawing) {
        if (plays("graphics")) all[found++] = (process_t){getpid(), 210, 0, 0};
        if (plays("xorg")) all[found++] = (process_t){900005, 30, 0, 0};
    } else {
        if (plays("own")) all[found++] = (process_t){getpid(), 200, 0, 0};
        if (plays("host")) all[found++] = (process_t){900001, 150, 0, 0};
        if (plays("foreign") || plays("more")) all[found++] = (process_t){900002, plays("grown") ? 9 << 20 : 100, 0, 0};
        if (plays("more")) all[found++] = (process_t){900003, ~0ull, 0, 0};
    }
    if (found && *n < found) { *n = found; return INSUFFICIENT_SIZE; }
    *n = found;
    if (found) memcpy(out, all, found * sizeof *all);
    return SUCCESS;
}

#ifdef OLD
int nvmlDeviceGetComputeRunningProcesses_v2(gpu_t *d, unsigned *n, process_t *out) { return listed(d, n, out, 0); }
int nvmlDeviceGetGraphicsRunningProcesses_v2(gpu_t *d, unsigned *n, process_t *out) { return listed(d, n, out, 1); }
#else
int nvmlDeviceGetComputeRunningProcesses_v3(gpu_t *d, unsigned *n, process_t *out) { return listed(d, n, out, 0); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(gpu_t *d, unsigned *n, process_t *out) { return listed(d, n, out, 1); }
int nvmlDeviceGetCurrentClocksEventReasons(gpu_t *d, u64 *mask) { return reasons(d, mask); }
int nvmlDeviceGetTemperatureV(gpu_t *d, int *versioned) { return temperature(d, versioned + 2); }
int nvmlDeviceGetRemappedRows(gpu_t *d, unsigned *soft, unsigned *hard, unsigned *pending, unsigned *failed)
    RARE(*soft = 1; *hard = plays("broken"); *pending = plays("pending"); *failed = plays("broken"))
int nvmlDeviceGetMPSComputeRunningProcesses_v3(gpu_t *d, unsigned *n, process_t *out)
    RARE(unsigned room = *n; *n = plays("mps") ? 2 : 0; if (*n > room) return INSUFFICIENT_SIZE;
         for (unsigned i = 0; i < *n; i++) out[i] = (process_t){900010 + i, 1, 0, 0})
/* 1.5 J from one look to the next. */
static u64 energy(void) { static u64 mj; mj += 1500; return plays("reloaded") ? 0 : 5000000 + mj; }
int nvmlDeviceGetTotalEnergyConsumption(gpu_t *d, u64 *mj) RARE(*mj = energy())

/* Half a second from one look to the next, for what holds the clocks meanwhile. */
static u64 heat_ns, cap_ns, brake_ns;
static void hold(void) {
    if (plays("thermal")) heat_ns += 500000000;
    if (plays("throttled")) { cap_ns += 500000000; brake_ns += 500000000; }
}
typedef struct { u64 reference, violation; } violation_t;
int nvmlDeviceGetViolationStatus(gpu_t *d, int policy, violation_t *v)
    RARE(if (plays("uncounted")) return NOT_SUPPORTED; if (!policy) hold();
         v->reference = 1; v->violation = policy == 0 ? cap_ns : policy == 1 ? heat_ns : 0)

typedef struct { unsigned id, scope; long long time, latency; int type, code; union { unsigned word; u64 number; } value; } field_t;
static int rare(void) {
    return plays("unsupported") ? NOT_SUPPORTED : plays("no-permission") ? NO_PERMISSION : plays("baffled") ? INVALID_ARGUMENT : SUCCESS;
}
static void number(field_t *f, u64 n) { f->type = 3; f->value.number = n; }
static void word(field_t *f, unsigned n) { f->type = 1; f->value.number = 0; f->value.word = n; }
int nvmlDeviceGetFieldValues(gpu_t *d, int n, field_t *fields) {
    int lost = gone();
    if (lost) return lost;
    if (d->slice) return INVALID_ARGUMENT;
    for (int i = 0; i < n; i++) {
        field_t *f = fields + i;
        f->code = rare();
        if (f->code) continue;
        int held = (f->id >= 74 && f->id <= 79) || (f->id >= 269 && f->id <= 271);
        if (held && (plays("uncounted") || plays("policies"))) { f->code = NOT_SUPPORTED; continue; }
        if (f->id >= 269 && f->id <= 271 && plays("renumbered")) { word(f, 7); continue; }
        switch (f->id) {
        case 3: number(f, plays("ecc") ? 5 : 2); break;
        case 4: number(f, plays("ecc") ? 1 : 0); break;
        case 29: word(f, plays("retired")); break;
        case 30: word(f, 0); break;
        case 31: word(f, plays("pages")); break;
        case 74: hold(); number(f, cap_ns); break;
        case 75: case 269: case 270: number(f, heat_ns); break;
        case 76: case 77: case 78: case 79: number(f, 0); break;
        case 83: number(f, energy()); break;
        case 142: word(f, plays("remapped") ? 3 : 1); break;
        case 143: word(f, plays("broken")); break;
        case 144: word(f, plays("pending")); break;
        case 145: word(f, plays("broken")); break;
        case 186: if (plays("averaged")) f->code = NOT_SUPPORTED; else word(f, plays("idle") ? 80500 : 650500); break;
        case 271: number(f, brake_ns); break;
        default: f->code = NOT_SUPPORTED;
        }
    }
    return SUCCESS;
}

typedef struct { unsigned pid; u64 time; unsigned sm, memory, encoder, decoder; } use_t;
int nvmlDeviceGetProcessUtilization(gpu_t *d, use_t *out, unsigned *n, u64 since) {
    use_t all[] = {{getpid(), since + 1, 90, 0, 0, 0}, {900002, since + 1, plays("working") ? 40 : 0, 0, 0, 0}, {900005, since + 1, 1, 0, 0, 0}};
    int lost = gone();
    if (lost) return lost;
    if (d->slice) return NOT_SUPPORTED;
    if (!plays("util")) return NOT_FOUND;
    if (*n < 3) { *n = 3; return INSUFFICIENT_SIZE; }
    *n = 3;
    memcpy(out, all, sizeof all);
    return SUCCESS;
}
typedef struct { unsigned gpu, memory; } rates_t;
int nvmlDeviceGetUtilizationRates(gpu_t *d, rates_t *r) RARE(r->gpu = plays("busy") ? 80 : 0; r->memory = 0)

typedef struct { gpu_t *device; u64 type, data; unsigned gi, ci; } event_t;
static int told;
int nvmlEventSetCreate(void **set) { *set = &told; return gone(); }
int nvmlDeviceRegisterEvents(gpu_t *d, u64 types, void *set) { (void)set; (void)types; (void)d; return plays("deaf") ? NO_PERMISSION : gone(); }
int nvmlEventSetWait_v2(void *set, event_t *event, unsigned ms) {
    (void)set; (void)ms;
    if (!plays("xid")) { told = 0; return TIMEOUT; }
    if (told) return TIMEOUT;
    told = 1;
    *event = (event_t){BOARDS, 8, 63, 0, 0};
    return SUCCESS;
}

typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
int nvmlDeviceGetPciInfo_v3(gpu_t *d, pci_t *p) WHOLE(memset(p, 0, sizeof *p); strcpy(p->bus_id, d == board(0) ? "00000000:3B:00.0" : "00000000:AF:00.0"))
int nvmlDeviceGetCpuAffinity(gpu_t *d, unsigned n, unsigned long *set) WHOLE(memset(set, 0, n * sizeof *set); set[0] = plays("far") ? 0xc : 0x3)
int nvmlDeviceGetApplicationsClock(gpu_t *d, int kind, unsigned *mhz) WHOLE(*mhz = kind == 1 ? 1980 : 2619)
int nvmlDeviceGetVirtualizationMode(gpu_t *d, int *mode) WHOLE(*mode = plays("vgpu") ? 2 : 0)

int nvmlDeviceGetMigMode(gpu_t *d, unsigned *now, unsigned *next) RARE(*now = *next = d == board(0) && slices() > 0)
int nvmlDeviceGetMaxMigDeviceCount(gpu_t *d, unsigned *n) WHOLE(*n = 7)
int nvmlDeviceGetMigDeviceHandleByIndex(gpu_t *d, unsigned i, gpu_t **slice)
    WHOLE(if ((int)i >= slices()) return NOT_FOUND; *slice = &SLICES[i])
int nvmlDeviceIsMigDeviceHandle(gpu_t *d, unsigned *is) { *is = d->slice; return SUCCESS; }
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(gpu_t *d, gpu_t **whole) { if (!d->slice) return INVALID_ARGUMENT; *whole = board(0); return SUCCESS; }
#endif
