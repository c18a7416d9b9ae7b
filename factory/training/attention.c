/* Attention inside each row of a pack, in bfloat16 with float32 sums, forward and backward, without ever writing the scores
   of a whole row: tiles of queries and keys, as in FlashAttention (Dao et al., 2022), on a processor with AVX512-BF16.

   The table of heads is [tokens, all, width]: `queries` query heads, then the key heads, then the value heads; `each` query
   heads share a key head. Row s is the tokens from starts[s] to ends[s]; it sees the pack's first `prefix` tokens and itself
   up to the token that asks. The prefix is a row too, from 0; it sees only itself. One task is one row and key head. */
#include "tiles.h"

#ifdef TILES
int attends(long width) { return width % COLUMNS == 0; }

typedef struct {
  long start, seen, length, keys, all, queries, each, width, group;
  const uint16_t *table;
} task;

static inline const uint16_t *key_of(const task *t, long n, long kind) { /* kind 1 is keys, 2 is values */
  long token = n < t->seen ? n : t->start + n - t->seen, heads = (t->all - t->queries) / 2;
  return t->table + (token * t->all + t->queries + (kind - 1) * heads + t->group) * t->width;
}
static inline long query_of(const task *t, long m, long heads) { /* where query m (tokens by `each`) stands, in numbers */
  return ((t->start + m / t->each) * heads + t->group * t->each + m % t->each) * t->width;
}
static task task_of(long number, const int64_t *starts, const int64_t *ends, long prefix, long all, long queries, long each,
                    long width, const uint16_t *table) {
  long groups = queries / each, s = number / groups;
  task t = {starts[s], starts[s] ? prefix : 0, ends[s] - starts[s], 0, all, queries, each, width, number % groups, table};
  t.keys = t.seen + t.length;
  return t;
}
static long longest(long rows, const int64_t *starts, const int64_t *ends, long prefix) {
  long most = 0;
  for (long s = 0; s < rows; s++) most = ends[s] - starts[s] > most ? ends[s] - starts[s] : most;
  return (most + prefix + COLUMNS) / COLUMNS * COLUMNS;
}

static void attend_one(const task *t, float scale, long room_for, pair *kt, pair *vp, float *s, uint16_t *p, float *o,
                       uint16_t *read, float *lse) {
  long w = t->width, half_w = w / 2, total = t->length * t->each;
  for (long n = 0; n < t->keys; n += COLUMNS) {
    long places[COLUMNS];
    for (long i = 0; i < COLUMNS; i++)
      places[i] = (key_of(t, n + i < t->keys ? n + i : t->keys - 1, 1) - t->table) / 2;
    turned((const pair *)t->table, places, t->keys - n, half_w, kt + n * half_w);
  }
  for (long n = 0; n < t->keys; n += 2) zipped(key_of(t, n, 2), n + 1 < t->keys ? key_of(t, n + 1, 2) : 0, w, vp + n / 2 * w);
  for (long m = 0; m < total; m += ROWS) {
    long rows = total - m < ROWS ? total - m : ROWS, last = t->seen + (m + rows - 1) / t->each + 1;
    const pair *a[ROWS];
    float share[ROWS];
    for (long i = 0; i < ROWS; i++) a[i] = (const pair *)(t->table + query_of(t, m + (i < rows ? i : rows - 1), t->all));
    for (long n = 0; n < last; n += COLUMNS) tile(a, 1, kt + n * half_w, COLUMNS, half_w, s + n, room_for, 0);
    for (long i = 0; i < rows; i++) {
      float *wide = s + i * room_for, most = -INFINITY, sum = 0;
      uint16_t *narrow = p + i * room_for;
      long seen = t->seen + (m + i) / t->each + 1;
#pragma omp simd reduction(max : most)
      for (long n = 0; n < seen; n++) { wide[n] *= scale; most = wide[n] > most ? wide[n] : most; }
#pragma omp simd reduction(+ : sum)
      for (long n = 0; n < seen; n++) { float e = power(wide[n] - most); sum += e; narrow[n] = rounded(e); }
      memset(narrow + seen, 0, (size_t)(last + 1 - seen) * 2);
      share[i] = 1.0f / sum;
      lse[(t->start + (m + i) / t->each) * t->queries + t->group * t->each + (m + i) % t->each] = most + logf(sum);
    }
    for (long i = 0; i < ROWS; i++) a[i] = (const pair *)(p + (i < rows ? i : rows - 1) * room_for);
    for (long j = 0; j < w; j += COLUMNS) tile(a, 1, vp + j, w, (last + 1) / 2, o + j, w, 0);
    for (long i = 0; i < rows; i++) {
      uint16_t *to = read + query_of(t, m + i, t->queries);
#pragma omp simd
      for (long j = 0; j < w; j++) to[j] = rounded(o[i * w + j] * share[i]);
    }
  }
}

/* read [tokens, queries, width]; lse [tokens, queries]: the logarithm of the sum of each query's exponentials.
   0, or 1 where there was no memory. */
int attend(int threads, long rows, const int64_t *starts, const int64_t *ends, long prefix, long all, long queries, long each,
           long width, const uint16_t *table, float scale, uint16_t *read, float *lse) {
  long most = longest(rows, starts, ends, prefix);
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    void *rooms[] = {room((size_t)(most * width * 2)), room((size_t)(most * width * 2)), room((size_t)(ROWS * most * 4)),
                     room((size_t)(ROWS * most * 2)), room((size_t)(ROWS * width * 4))};
    failed = !all_there(rooms, 5);
#pragma omp for schedule(dynamic)
    for (long number = 0; number < rows * (queries / each); number++) {
      task t = task_of(number, starts, ends, prefix, all, queries, each, width, table);
      if (!failed) attend_one(&t, scale, most, rooms[0], rooms[1], rooms[2], rooms[3], rooms[4], read, lse);
    }
    for (int i = 0; i < 5; i++) free(rooms[i]);
  }
  return failed;
}

typedef struct {
  pair *kp, *qt, *qp, *gt, *gp, *dsp; /* keys; queries and gradients by columns and in pairs; gradients of scores in pairs */
  float *dk, *dv, *dq;
} desk;

/* queries m to m + 64 of a task: their dq is written, what they add to dk and dv is added */
static void back_one(const task *t, long m, float scale, const uint16_t *read, const uint16_t *given, const float *lse,
                     const desk *d, uint16_t *found) {
  long w = t->width, half_w = w / 2, total = t->length * t->each, rows = total - m < COLUMNS ? total - m : COLUMNS;
  long last = t->seen + (m + rows - 1) / t->each + 1;
  long places[COLUMNS], given_places[COLUMNS];
  int32_t seen[COLUMNS];
  float most[COLUMNS], inner[COLUMNS];
  for (long i = 0; i < COLUMNS; i++) {
    long at = m + (i < rows ? i : rows - 1), out = query_of(t, at, t->queries);
    places[i] = query_of(t, at, t->all) / 2;
    given_places[i] = out / 2;
    seen[i] = i < rows ? (int32_t)(t->seen + at / t->each + 1) : 0;
    most[i] = lse[out / w];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long j = 0; j < w; j++) sum += whole(read[out + j]) * whole(given[out + j]);
    inner[i] = sum;
  }
  turned((const pair *)t->table, places, rows, half_w, d->qt);
  turned((const pair *)given, given_places, rows, half_w, d->gt);
  for (long i = 0; i < COLUMNS; i += 2) {
    const uint16_t *q = t->table, *g = given;
    long one = 2 * places[i], two = i + 1 < COLUMNS ? 2 * places[i + 1] : 0;
    zipped(i < rows ? q + one : 0, i + 1 < rows ? q + two : 0, w, d->qp + i / 2 * w);
    zipped(i < rows ? g + 2 * given_places[i] : 0, i + 1 < rows ? g + 2 * given_places[i + 1] : 0, w,
           d->gp + i / 2 * w);
  }
  const pair *a[ROWS];
  for (long n = 0; n < last; n += ROWS) {
    float s[ROWS * COLUMNS], dp[ROWS * COLUMNS];
    uint16_t p[ROWS * COLUMNS], ds[ROWS * COLUMNS];
    for (long i = 0; i < ROWS; i++) a[i] = (const pair *)key_of(t, n + i < t->keys ? n + i : t->keys - 1, 1);
    tile(a, 1, d->qt, COLUMNS, half_w, s, COLUMNS, 0);
    for (long i = 0; i < ROWS; i++) a[i] = (const pair *)key_of(t, n + i < t->keys ? n + i : t->keys - 1, 2);
    tile(a, 1, d->gt, COLUMNS, half_w, dp, COLUMNS, 0);
    for (long i = 0; i < ROWS; i++) {
#pragma omp simd
      for (long j = 0; j < COLUMNS; j++) {
        float e = n + i < seen[j] ? power(s[i * COLUMNS + j] * scale - most[j]) : 0;
        p[i * COLUMNS + j] = rounded(e);
        ds[i * COLUMNS + j] = rounded(scale * e * (dp[i * COLUMNS + j] - inner[j]));
      }
    }
    for (long i = 0; i < ROWS; i += 2) zipped(ds + i * COLUMNS, ds + (i + 1) * COLUMNS, COLUMNS, d->dsp + (n + i) / 2 * COLUMNS);
    for (long i = 0; i < ROWS; i++) a[i] = (const pair *)(p + i * COLUMNS);
    for (long j = 0; j < w; j += COLUMNS) tile(a, 1, d->gp + j, w, COLUMNS / 2, d->dv + n * w + j, w, 1);
    for (long i = 0; i < ROWS; i++) a[i] = (const pair *)(ds + i * COLUMNS);
    for (long j = 0; j < w; j += COLUMNS) tile(a, 1, d->qp + j, w, COLUMNS / 2, d->dk + n * w + j, w, 1);
  }
  for (long i = 0; i < rows; i += ROWS) {
    for (long k = 0; k < ROWS; k++) a[k] = d->dsp + (i + k < rows ? i + k : rows - 1);
    for (long j = 0; j < w; j += COLUMNS) tile(a, COLUMNS, d->kp + j, w, (last + 1) / 2, d->dq + j, w, 0);
    for (long k = 0; k < ROWS && i + k < rows; k++) {
      uint16_t *to = found + query_of(t, m + i + k, t->all);
#pragma omp simd
      for (long j = 0; j < w; j++) to[j] = rounded(d->dq[k * w + j]);
    }
  }
}

/* found, like table: the gradient towards it, from `given` [tokens, queries, width], that towards `read`. What each row says
   of the prefix's keys and values is put into shared [rows, groups, prefix, 2, width] first. 0, or 1 without memory. */
int attend_back(int threads, long rows, const int64_t *starts, const int64_t *ends, long prefix, long all, long queries,
                long each, long width, const uint16_t *table, const uint16_t *read, const uint16_t *given, const float *lse,
                float scale, float *shared, uint16_t *found) {
  long most = longest(rows, starts, ends, prefix) + ROWS, groups = queries / each, block = COLUMNS * width / 2;
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    void *rooms[] = {room((size_t)(most * width * 2)), room((size_t)(4 * block * 4)), room((size_t)(most * COLUMNS * 2)),
                     room((size_t)(2 * most * width * 4)), room((size_t)(ROWS * width * 4))};
    failed = !all_there(rooms, 5);
    pair *packed = rooms[1];
    float *sums = rooms[3];
    desk d = {rooms[0], packed, packed + block, packed + 2 * block, packed + 3 * block, rooms[2], sums, sums + most * width,
              rooms[4]};
#pragma omp for schedule(dynamic)
    for (long number = 0; number < rows * groups; number++) {
      if (failed) continue;
      task t = task_of(number, starts, ends, prefix, all, queries, each, width, table);
      memset(d.dk, 0, (size_t)((t.keys + ROWS) * width * 4));
      memset(d.dv, 0, (size_t)((t.keys + ROWS) * width * 4));
      for (long n = 0; n < t.keys; n += 2)
        zipped(key_of(&t, n, 1), n + 1 < t.keys ? key_of(&t, n + 1, 1) : 0, width, d.kp + n / 2 * width);
      for (long m = 0; m < t.length * each; m += COLUMNS) back_one(&t, m, scale, read, given, lse, &d, found);
      for (long n = 0; n < t.keys; n++) {
        if (n < t.seen || !t.start) { /* also of the prefix itself */
          if (prefix) {
            float *to = shared + (number * prefix + n) * 2 * width;
            memcpy(to, d.dk + n * width, (size_t)width * 4);
            memcpy(to + width, d.dv + n * width, (size_t)width * 4);
            continue;
          }
        }
        for (long kind = 1; kind < 3; kind++) {
          uint16_t *to = found + (key_of(&t, n, kind) - table);
          const float *from = (kind == 1 ? d.dk : d.dv) + n * width;
#pragma omp simd
          for (long j = 0; j < width; j++) to[j] = rounded(from[j]);
        }
      }
    }
#pragma omp for
    for (long n = 0; n < prefix * groups * 2; n++) {
      long kind = n / (prefix * groups), group = n / prefix % groups, token = n % prefix;
      uint16_t *to = found + (token * all + queries + kind * groups + group) * width;
      for (long j = 0; j < width; j++) {
        float sum = 0;
        for (long s = 0; s < rows; s++) sum += shared[(((s * groups + group) * prefix + token) * 2 + kind) * width + j];
        to[j] = rounded(sum);
      }
    }
    for (int i = 0; i < 5; i++) free(rooms[i]);
  }
  return failed;
}
#else
int attends(long width) { (void)width; return 0; }
#endif
