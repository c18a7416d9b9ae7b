/* The small sums of kernels.py for float32 and bfloat16 on a processor: one pass over each row, rows shared among threads.
   This file is compiled twice into one library, by including itself: once with numbers of four bytes, once of two. */
#ifndef NUMBER
#include "numbers.h"

static inline float read_float(float x) { return x; }
static inline float write_float(float x) { return x; }

#define NUMBER float
#define READ read_float
#define WRITE write_float
#define NAME(name) name##_float
#include "kernels.c"
#undef NUMBER
#undef READ
#undef WRITE
#undef NAME
#define NUMBER uint16_t
#define READ whole
#define WRITE rounded
#define NAME(name) name##_half
#include "kernels.c"
#else

void NAME(norm)(int threads, long rows, long width, const NUMBER *x, const NUMBER *weight, float eps, NUMBER *y, float *rate) {
#pragma omp parallel for num_threads(threads)
  for (long t = 0; t < rows; t++) {
    const NUMBER *a = x + t * width;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < width; i++) sum += READ(a[i]) * READ(a[i]);
    float r = rate[t] = 1.0f / sqrtf(sum / (float)width + eps);
    NUMBER *b = y + t * width;
#pragma omp simd
    for (long i = 0; i < width; i++) b[i] = WRITE(READ(weight[i]) * READ(WRITE(READ(a[i]) * r)));
  }
}

/* more may be null */
void NAME(norm_back)(int threads, long rows, long width, const NUMBER *dy, const NUMBER *x, const NUMBER *weight,
                     const float *rate, const NUMBER *more, NUMBER *dx, NUMBER *y) {
#pragma omp parallel for num_threads(threads)
  for (long t = 0; t < rows; t++) {
    const NUMBER *a = x + t * width, *d = dy + t * width, *m = more ? more + t * width : 0;
    float r = rate[t], inner = 0;
#pragma omp simd reduction(+ : inner)
    for (long i = 0; i < width; i++) inner += READ(d[i]) * READ(weight[i]) * READ(a[i]);
    inner *= r * r / (float)width;
    NUMBER *b = dx + t * width, *c = y + t * width;
    if (m) {
#pragma omp simd
      for (long i = 0; i < width; i++) b[i] = WRITE(r * (READ(d[i]) * READ(weight[i]) - READ(a[i]) * inner) + READ(m[i]));
    } else {
#pragma omp simd
      for (long i = 0; i < width; i++) b[i] = WRITE(r * (READ(d[i]) * READ(weight[i]) - READ(a[i]) * inner));
    }
#pragma omp simd
    for (long i = 0; i < width; i++) c[i] = WRITE(READ(weight[i]) * READ(WRITE(READ(a[i]) * r)));
  }
}

void NAME(gated)(int threads, long rows, long width, const NUMBER *both, NUMBER *out) {
#pragma omp parallel for num_threads(threads)
  for (long t = 0; t < rows; t++) {
    const NUMBER *gate = both + 2 * t * width, *up = gate + width;
    NUMBER *o = out + t * width;
#pragma omp simd
    for (long i = 0; i < width; i++) {
      float g = READ(gate[i]);
      o[i] = WRITE(g / (1.0f + power(-g)) * READ(up[i]));
    }
  }
}

void NAME(gated_back)(int threads, long rows, long width, const NUMBER *dm, const NUMBER *both, NUMBER *dboth, NUMBER *out) {
#pragma omp parallel for num_threads(threads)
  for (long t = 0; t < rows; t++) {
    const NUMBER *gate = both + 2 * t * width, *up = gate + width, *d = dm + t * width;
    NUMBER *dgate = dboth + 2 * t * width, *dup = dgate + width, *o = out + t * width;
#pragma omp simd
    for (long i = 0; i < width; i++) {
      float g = READ(gate[i]), u = READ(up[i]), share = 1.0f / (1.0f + power(-g)), silu = g * share, e = READ(d[i]);
      dup[i] = WRITE(e * silu);
      dgate[i] = WRITE(e * u * (share + silu * (1.0f - share)));
      o[i] = WRITE(silu * u);
    }
  }
}

/* heads of `width` numbers, the first `turned` of `all` in each row; sign is -1 to turn back */
void NAME(rotate)(int threads, long rows, long all, long turned, long width, NUMBER *x, const float *cos, const float *sin,
                  float sign) {
  long half = width / 2;
#pragma omp parallel for num_threads(threads)
  for (long t = 0; t < rows; t++) {
    const float *c = cos + t * half, *s = sin + t * half;
    for (long h = 0; h < turned; h++) {
      NUMBER *one = x + (t * all + h) * width, *other = one + half;
#pragma omp simd
      for (long i = 0; i < half; i++) {
        float a = READ(one[i]), b = READ(other[i]), turn = sign * s[i];
        one[i] = WRITE(a * c[i] - b * turn);
        other[i] = WRITE(b * c[i] + a * turn);
      }
    }
  }
}

/* scores [batch, queries * each, keys] in place; the last query sees all keys, the one before it one less, and so on */
void NAME(softmax)(int threads, long batch, long queries, long each, long keys, NUMBER *scores, float scale) {
#pragma omp parallel for num_threads(threads) schedule(static, 16)
  for (long row = 0; row < batch * queries * each; row++) {
    NUMBER *s = scores + row * keys;
    long seen = keys - queries + row / each % queries + 1;
    float most = -INFINITY, sum = 0, wide[seen];
#pragma omp simd reduction(max : most)
    for (long i = 0; i < seen; i++) { wide[i] = READ(s[i]) * scale; most = wide[i] > most ? wide[i] : most; }
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < seen; i++) { wide[i] = power(wide[i] - most); sum += wide[i]; }
    float share = 1.0f / sum;
#pragma omp simd
    for (long i = 0; i < seen; i++) s[i] = WRITE(wide[i] * share);
    memset(s + seen, 0, (size_t)(keys - seen) * sizeof(NUMBER));
  }
}

/* dp becomes scale * p * (dp - sum of p * dp) */
void NAME(softmax_back)(int threads, long batch, long queries, long each, long keys, NUMBER *dp, const NUMBER *p, float scale) {
#pragma omp parallel for num_threads(threads) schedule(static, 16)
  for (long row = 0; row < batch * queries * each; row++) {
    NUMBER *d = dp + row * keys;
    const NUMBER *q = p + row * keys;
    long seen = keys - queries + row / each % queries + 1;
    float inner = 0;
#pragma omp simd reduction(+ : inner)
    for (long i = 0; i < seen; i++) inner += READ(d[i]) * READ(q[i]);
#pragma omp simd
    for (long i = 0; i < seen; i++) d[i] = WRITE(scale * READ(q[i]) * (READ(d[i]) - inner));
    memset(d + seen, 0, (size_t)(keys - seen) * sizeof(NUMBER));
  }
}

void NAME(nll_back)(int threads, long rows, long width, NUMBER *logits, const int64_t *targets, float scale, float *loss) {
#pragma omp parallel for num_threads(threads)
  for (long t = 0; t < rows; t++) {
    NUMBER *l = logits + t * width;
    float most = -INFINITY, sum = 0;
#pragma omp simd reduction(max : most)
    for (long i = 0; i < width; i++) most = READ(l[i]) > most ? READ(l[i]) : most;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < width; i++) sum += power(READ(l[i]) - most);
    float target = READ(l[targets[t]]) - most, share = scale / sum;
    loss[t] = logf(sum) - target;
#pragma omp simd
    for (long i = 0; i < width; i++) l[i] = WRITE(power(READ(l[i]) - most) * share);
    l[targets[t]] = WRITE((power(target) / sum - 1.0f) * scale);
  }
}
#endif
