/* A libnvidia-ml that plays one GPU, for the real binding. What it answers is chosen by NVML_STUB:
 *   "" all well; "old" a driver that knows neither MIG nor power; "no-gpu" initialises, finds no GPU. */
#include <stdlib.h>
#include <string.h>

#define SUCCESS 0
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
typedef struct { unsigned long long total, free, used; } memory_t;

static int plays(const char *what) { const char *s = getenv("NVML_STUB"); return s && !strcmp(s, what); }

int nvmlInitWithFlags(unsigned flags) { (void)flags; return SUCCESS; }
int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == NOT_FOUND ? "Not Found" : code == NOT_SUPPORTED ? "Not Supported" : "?"; }
int nvmlSystemGetDriverVersion(char *out, unsigned n) { strncpy(out, "580.65.06", n); return SUCCESS; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    if (plays("no-gpu") || strcmp(uuid, "GPU-1234")) return NOT_FOUND;
    *device = (void *)uuid; return SUCCESS;
}
int nvmlDeviceGetName(void *d, char *out, unsigned n) { (void)d; strncpy(out, "NVIDIA Stub 1", n); return SUCCESS; }
int nvmlDeviceGetUUID(void *d, char *out, unsigned n) { (void)d; strncpy(out, "GPU-1234", n); return SUCCESS; }
int nvmlDeviceGetMemoryInfo(void *d, memory_t *m) { (void)d; m->total = 1000; m->used = 300; m->free = 700; return SUCCESS; }
int nvmlDeviceGetEnforcedPowerLimit(void *d, unsigned *mw) { (void)d; if (plays("old")) return NOT_SUPPORTED; *mw = 700000; return SUCCESS; }
