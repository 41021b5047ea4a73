/* Batch norm in training on contiguous float32 (N, C, S): statistics in one pass over a channel, in double where many
 * numbers are added; y, and in the backward pass dx, in a second one. */
#include <math.h>
#include <stddef.h>

enum { LANES = 16 };

static void sums(const float *restrict x, size_t n, float shift, double *sum, double *squares) {
    float s[LANES] = {0}, q[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            float d = x[i + lane] - shift;
            s[lane] += d;
            q[lane] += d * d;
        }
    for (int lane = 0; lane < LANES; lane++) { *sum += s[lane]; *squares += q[lane]; }
    for (; i < n; i++) { float d = x[i] - shift; *sum += d; *squares += (double)d * d; }
}

void forward(const float *restrict x, float *restrict y, const float *weight, const float *bias, float *mean, float *var,
             float *invstd, size_t N, size_t C, size_t S, float eps) {
    for (size_t c = 0; c < C; c++) {
        float shift = x[c * S];  /* one of the channel's own values: no digits are lost to a large mean */
        double sum = 0, squares = 0, n = (double)N * S;
        for (size_t i = 0; i < N; i++) sums(x + (i * C + c) * S, S, shift, &sum, &squares);
        double v = squares / n - (sum / n) * (sum / n);
        mean[c] = (float)(shift + sum / n);
        var[c] = (float)(v < 0 ? 0 : v);
        invstd[c] = (float)(1 / sqrt((double)var[c] + eps));
        float scale = invstd[c] * (weight ? weight[c] : 1), m = mean[c], offset = bias ? bias[c] : 0;
        for (size_t i = 0; i < N; i++) {
            const float *restrict from = x + (i * C + c) * S;
            float *restrict to = y + (i * C + c) * S;
            for (size_t j = 0; j < S; j++) to[j] = (from[j] - m) * scale + offset;
        }
    }
}

void backward(const float *restrict x, const float *restrict dy, float *restrict dx, const float *weight, const float *mean,
              const float *invstd, float *dweight, float *dbias, size_t N, size_t C, size_t S) {
    for (size_t c = 0; c < C; c++) {
        double total = 0, product = 0, n = (double)N * S;
        for (size_t i = 0; i < N; i++) {
            const float *restrict a = x + (i * C + c) * S, *restrict g = dy + (i * C + c) * S;
            float t[LANES] = {0}, p[LANES] = {0};
            size_t j = 0;
            for (; j + LANES <= S; j += LANES)
                for (int lane = 0; lane < LANES; lane++) {
                    t[lane] += g[j + lane];
                    p[lane] += g[j + lane] * (a[j + lane] - mean[c]);
                }
            for (int lane = 0; lane < LANES; lane++) { total += t[lane]; product += p[lane]; }
            for (; j < S; j++) { total += g[j]; product += (double)g[j] * (a[j] - mean[c]); }
        }
        dbias[c] = (float)total;
        dweight[c] = (float)(product * invstd[c]);
        float scale = invstd[c] * (weight ? weight[c] : 1), m = mean[c];
        float level = (float)(total / n), slope = (float)(product / n * invstd[c] * invstd[c]);
        for (size_t i = 0; i < N; i++) {
            const float *restrict a = x + (i * C + c) * S, *restrict g = dy + (i * C + c) * S;
            float *restrict to = dx + (i * C + c) * S;
            for (size_t j = 0; j < S; j++) to[j] = (g[j] - level - (a[j] - m) * slope) * scale;
        }
    }
}
