/* Products of bfloat16 numbers with float32 sums, in tiles that stay in the registers of a processor with AVX512-BF16.
   A tile multiplies rows that are read as they stand, pair by pair, with columns that were laid out in pairs before. */
#include "numbers.h"

#include <stdlib.h>

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define TILES
#include <immintrin.h>

#define ROWS 6 /* of a tile; with four vectors of 16 columns its sums fill 24 of 32 registers */
#define COLUMNS 64

typedef uint32_t pair; /* two neighbouring bfloat16 numbers */

/* sums [ROWS, COLUMNS] of a[i][k * step] * b[k * across + j] over `pairs` k, written to c or added to it */
static inline __attribute__((always_inline)) void tile(const pair *const *a, long step, const pair *b, long across, long pairs,
                                                       float *c, long row, int add) {
  __m512 sums[ROWS][4];
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) sums[i][j] = add ? _mm512_loadu_ps(c + i * row + 16 * j) : _mm512_setzero_ps();
  for (long k = 0; k < pairs; k++) {
    __m512bh columns[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) columns[j] = (__m512bh)_mm512_loadu_si512(b + k * across + 16 * j);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
      __m512bh one = (__m512bh)_mm512_set1_epi32((int)a[i][k * step]);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], columns[j], one);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) _mm512_storeu_ps(c + i * row + 16 * j, sums[i][j]);
}

/* r[i][j] and r[j][i] change places */
static inline __attribute__((always_inline)) void turn_16(__m512i *r) {
  __m512i s[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) { s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]); s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]); }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    s[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    s[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    s[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    s[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(s[i], s[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(s[i], s[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(s[i + 4], s[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(s[i + 4], s[i + 12], 0xdd);
  }
}

/* to[k * COLUMNS + n] = pair k of row n, for `count` rows that begin at from + places[n]; the columns after them are zeros */
static void turned(const pair *from, const long *places, long count, long pairs, pair *to) {
  for (long n = 0; n < COLUMNS; n += 16)
    for (long k = 0; k < pairs; k += 16) {
      long some = pairs - k < 16 ? pairs - k : 16;
      __mmask16 there = (__mmask16)((1u << some) - 1);
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++)
        r[i] = n + i < count ? _mm512_maskz_loadu_epi32(there, from + places[n + i] + k) : _mm512_setzero_si512();
      turn_16(r);
      for (long i = 0; i < some; i++) _mm512_storeu_si512(to + (k + i) * COLUMNS + n, r[i]);
    }
}

/* to[j] = the j-th numbers of two rows beside each other; either may be null, for zeros */
static inline void zipped(const uint16_t *a, const uint16_t *b, long width, pair *to) {
  if (a && b) {
#pragma omp simd
    for (long j = 0; j < width; j++) to[j] = (pair)a[j] | (pair)b[j] << 16;
  } else
    for (long j = 0; j < width; j++) to[j] = (pair)(a ? a[j] : 0) | (pair)(b ? b[j] : 0) << 16;
}

static inline void *room(size_t bytes) { return aligned_alloc(64, bytes / 64 * 64 + 64); }
static inline int all_there(void *const *rooms, int count) {
  for (int i = 0; i < count; i++)
    if (!rooms[i]) return 0;
  return 1;
}
#endif
