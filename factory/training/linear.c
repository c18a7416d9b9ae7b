/* Linear layers of one input with their LoRA adapters, in bfloat16 with float32 sums, on a processor with AVX512-BF16.

   table [outputs, inputs + ranks] holds the frozen weights and beside them the scaled B of each layer's adapter, zeros where
   a layer has nothing to do with an adapter; down [ranks, inputs] holds the A below each other (see lora.py). The weights are
   laid out for the tiles panel by panel as they are needed, so that they are kept in memory once. Unlike a library's products
   these need no code made for each new number of tokens. */
#include "tiles.h"

#ifdef TILES
int multiplies(long inputs, long outputs, long ranks) { return inputs % 2 == 0 && outputs % 2 == 0 && ranks % 2 == 0; }

/* What the next panel will be made of: it is called into the cache while this one is worked with. */
typedef struct {
  const uint16_t *from;
  long stride, rows, width;
} next_panel;

static const next_panel NOTHING = {0, 0, 0, 0};

static inline void call_in(const next_panel *next, long done, long of) {
  for (long row = next->rows * done / of; row < next->rows * (done + ROWS) / of; row++)
    for (long j = 0; j < next->width; j += 32) _mm_prefetch((const char *)(next->from + row * next->stride + j), _MM_HINT_T0);
}

/* y[t, first + j] = sum over k of x[t, k] panel[k, j] + of z[t, k] panel[x_pairs + k, j], + plus, for tokens from..to */
static void through(const uint16_t *x, long x_pairs, const uint16_t *z, long z_pairs, const pair *panel, long from, long to,
                    long first, long count, const uint16_t *plus, uint16_t *y, long width, next_panel next) {
  float c[ROWS * COLUMNS];
  const pair *a[ROWS];
  for (long t = from; t < to; t += ROWS) {
    call_in(&next, t - from, to - from + ROWS);
    for (long i = 0; i < ROWS; i++) a[i] = (const pair *)x + (t + i < to ? t + i : to - 1) * x_pairs;
    tile(a, 1, panel, COLUMNS, x_pairs, c, COLUMNS, 0);
    if (z_pairs) {
      for (long i = 0; i < ROWS; i++) a[i] = (const pair *)z + (t + i < to ? t + i : to - 1) * z_pairs;
      tile(a, 1, panel + x_pairs * COLUMNS, COLUMNS, z_pairs, c, COLUMNS, 1);
    }
    for (long i = 0; i < ROWS && t + i < to; i++) {
      const float *sums = c + i * COLUMNS;
      uint16_t *out = y + (t + i) * width + first;
      if (plus) {
        const uint16_t *more = plus + (t + i) * width + first;
#pragma omp simd
        for (long j = 0; j < count; j++) out[j] = rounded(sums[j] + whole(more[j]));
      } else {
#pragma omp simd
        for (long j = 0; j < count; j++) out[j] = rounded(sums[j]);
      }
    }
  }
}

static void turned_rows(const uint16_t *from, long stride, long count, long pairs, pair *to) {
  long places[COLUMNS];
  for (long i = 0; i < COLUMNS; i++) places[i] = i * stride / 2;
  turned((const pair *)from, places, count, pairs, to);
}

/* rows of `from` in pairs, `count` columns of each */
static void zipped_rows(const uint16_t *from, long stride, long rows, long count, pair *to) {
  for (long k = 0; k < rows; k += 2) {
    zipped(from + k * stride, k + 1 < rows ? from + (k + 1) * stride : 0, count, to + k / 2 * COLUMNS);
    for (long j = count; j < COLUMNS; j++) to[k / 2 * COLUMNS + j] = 0;
  }
}

static inline long up_to(long start, long whole_of) { return whole_of - start < COLUMNS ? whole_of - start : COLUMNS; }

/* Each thread takes an equal share of all panels' tokens; a panel at whose middle two meet is laid out by both. */
#define EACH_PANEL(width)                                                                                                  \
  long panels = ((width) + COLUMNS - 1) / COLUMNS, laid_out = -1;                                                          \
  _Pragma("omp for schedule(static)") for (long part = 0; part < panels * threads; part++)
#define TOKENS_OF_PART                                                                                                     \
  long number = part / threads, first = number * COLUMNS, share = (tokens + ROWS * threads - 1) / (ROWS * threads) * ROWS;                        \
  long from = part % threads * share, to = from + share < tokens ? from + share : tokens;

/* y [tokens, outputs] = x [tokens, inputs] W' + inner (s B)' + plus, where inner [tokens, ranks] = x A' is given back too.
   plus may be null. 0, or 1 where there was no memory. */
int linear(int threads, long tokens, long inputs, long outputs, long ranks, const uint16_t *x, const uint16_t *table,
           const uint16_t *down, const uint16_t *plus, uint16_t *y, uint16_t *inner) {
  long stride = inputs + ranks;
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    pair *panel = room((size_t)(stride / 2 * COLUMNS * 4));
    failed = !panel;
    if (ranks) {
      EACH_PANEL(ranks) {
        TOKENS_OF_PART
        long count = up_to(first, ranks);
        if (failed || from >= to) continue;
        if (laid_out != number) turned_rows(down + first * inputs, inputs, count, inputs / 2, panel);
        laid_out = number;
        through(x, inputs / 2, 0, 0, panel, from, to, first, count, 0, inner, ranks, NOTHING);
      }
    }
    EACH_PANEL(outputs) {
      TOKENS_OF_PART
      long count = up_to(first, outputs);
      if (failed || from >= to) continue;
      if (laid_out != number) turned_rows(table + first * stride, stride, count, stride / 2, panel);
      laid_out = number;
      next_panel next = {table + (first + COLUMNS) * stride, stride, number + 1 < panels ? up_to(first + COLUMNS, outputs) : 0, stride};
      through(x, inputs / 2, inner, ranks / 2, panel, from, to, first, count, plus, y, outputs, next);
    }
    free(panel);
  }
  return failed;
}

/* dx [tokens, inputs] = dy [tokens, outputs] W + outer A, where outer [tokens, ranks] = dy (s B) is given back too.
   dx may be null. 0, or 1 where there was no memory. */
int linear_back(int threads, long tokens, long inputs, long outputs, long ranks, const uint16_t *dy, const uint16_t *table,
                const uint16_t *down, uint16_t *dx, uint16_t *outer) {
  long stride = inputs + ranks;
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    pair *panel = room((size_t)((outputs + ranks) / 2 * COLUMNS * 4));
    failed = !panel;
    if (ranks) {
      EACH_PANEL(ranks) {
        TOKENS_OF_PART
        long count = up_to(first, ranks);
        if (failed || from >= to) continue;
        if (laid_out != number) zipped_rows(table + inputs + first, stride, outputs, count, panel);
        laid_out = number;
        through(dy, outputs / 2, 0, 0, panel, from, to, first, count, 0, outer, ranks, NOTHING);
      }
    }
    if (dx) {
      EACH_PANEL(inputs) {
        TOKENS_OF_PART
        long count = up_to(first, inputs);
        if (failed || from >= to) continue;
        if (laid_out != number) {
          zipped_rows(table + first, stride, outputs, count, panel);
          zipped_rows(down + first, inputs, ranks, count, panel + outputs / 2 * COLUMNS);
        }
        laid_out = number;
        next_panel next = {table + first + COLUMNS, stride, number + 1 < panels ? outputs : 0, up_to(first + COLUMNS, inputs)};
        through(dy, outputs / 2, outer, ranks / 2, panel, from, to, first, count, 0, dx, inputs, next);
      }
    }
    free(panel);
  }
  return failed;
}

/* grad[r * row + j * column] += scale * sum over tokens of side[t, r] across[t, j], for `ranks` r and `count` j; side in
   pairs of tokens [pairs, all_ranks], across in pairs of tokens [pairs, COLUMNS] */
static void outer_product(const pair *side, long all_ranks, long ranks, const pair *across, long pairs, long count, float scale,
                          float *grad, long row, long column) {
  float c[ROWS * COLUMNS];
  const pair *a[ROWS];
  for (long r = 0; r < ranks; r += ROWS) {
    for (long i = 0; i < ROWS; i++) a[i] = side + (r + i < ranks ? r + i : ranks - 1);
    tile(a, all_ranks, across, COLUMNS, pairs, c, COLUMNS, 0);
    long some = ranks - r < ROWS ? ranks - r : ROWS;
    if (column == 1)
      for (long i = 0; i < some; i++) {
#pragma omp simd
        for (long j = 0; j < count; j++) grad[(r + i) * row + j] += scale * c[i * COLUMNS + j];
      }
    else
      for (long j = 0; j < count; j++)
        for (long i = 0; i < some; i++) grad[(r + i) * row + j * column] += scale * c[i * COLUMNS + j];
  }
}

/* Add to the gradients of `members` adapters: da [rank, inputs] += outer' x, db [outputs, rank] += s dy' inner. `firsts` says
   of each member where its outputs begin, where its ranks begin, how many outputs and how many ranks it has; `grads` where
   each da is and then each db. 0, or 1 where there was no memory. */
int linear_gradients(int threads, long tokens, long inputs, long outputs, long ranks, const uint16_t *x, const uint16_t *inner,
                     const uint16_t *outer, const uint16_t *dy, long members, const int64_t *firsts, const int64_t *grads,
                     const float *scales) {
  const int64_t *ranks_from = firsts + members, *outs = firsts + 2 * members, *rank = firsts + 3 * members;
  long pairs = (tokens + 1) / 2, wide = (inputs + COLUMNS - 1) / COLUMNS, tasks = wide;
  for (long m = 0; m < members; m++) tasks += (outs[m] + COLUMNS - 1) / COLUMNS;
  pair *inners = room((size_t)(pairs * ranks * 4)), *outers = room((size_t)(pairs * ranks * 4));
  int missing = !inners || !outers, failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    pair *panel = room((size_t)(pairs * COLUMNS * 4));
    failed = missing || !panel;
#pragma omp for schedule(static)
    for (long k = 0; k < pairs; k++) {
      if (failed) continue;
      int alone = 2 * k + 1 == tokens;
      zipped(inner + 2 * k * ranks, alone ? 0 : inner + (2 * k + 1) * ranks, ranks, inners + k * ranks);
      zipped(outer + 2 * k * ranks, alone ? 0 : outer + (2 * k + 1) * ranks, ranks, outers + k * ranks);
    }
#pragma omp for schedule(dynamic)
    for (long task = 0; task < tasks; task++) {
      if (failed) continue;
      if (task < wide) {
        long first = task * COLUMNS, count = up_to(first, inputs);
        zipped_rows(x + first, inputs, tokens, count, panel);
        for (long m = 0; m < members; m++)
          outer_product(outers + ranks_from[m], ranks, rank[m], panel, pairs, count, 1.0f,
                        (float *)(intptr_t)grads[m] + first, inputs, 1);
      } else {
        long m = 0, at = task - wide;
        while (at >= (outs[m] + COLUMNS - 1) / COLUMNS) at -= (outs[m++] + COLUMNS - 1) / COLUMNS;
        long first = at * COLUMNS, count = up_to(first, outs[m]);
        zipped_rows(dy + firsts[m] + first, outputs, tokens, count, panel);
        outer_product(inners + ranks_from[m], ranks, rank[m], panel, pairs, count, scales[m],
                      (float *)(intptr_t)grads[members + m] + first * rank[m], 1, rank[m]);
      }
    }
    free(panel);
  }
  free(inners);
  free(outers);
  return failed;
}
/* Take over the adapters: their scaled B into the table, their A into down. `firsts` and `scales` as above; `weights` where
   each A is and then each B. */
void linear_refresh(int threads, long inputs, long ranks, long members, const int64_t *firsts, const int64_t *weights,
                    const float *scales, uint16_t *table, uint16_t *down) {
  for (long m = 0; m < members; m++) {
    const float *a = (const float *)(intptr_t)weights[m], *b = (const float *)(intptr_t)weights[members + m], scale = scales[m];
    long out = firsts[m], first = firsts[members + m], outs = firsts[2 * members + m], rank = firsts[3 * members + m];
#pragma omp parallel for simd num_threads(threads)
    for (long j = 0; j < rank * inputs; j++) down[first * inputs + j] = rounded(a[j]);
#pragma omp parallel for num_threads(threads)
    for (long o = 0; o < outs; o++) {
      uint16_t *to = table + (out + o) * (inputs + ranks) + inputs + first;
#pragma omp simd
      for (long r = 0; r < rank; r++) to[r] = rounded(scale * b[o * rank + r]);
    }
  }
}
#else
int multiplies(long inputs, long outputs, long ranks) { (void)inputs; (void)outputs; (void)ranks; return 0; }
#endif
