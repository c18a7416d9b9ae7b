/* float32 and bfloat16 as bits, and the exponential, for loops that a compiler turns into vectors. */
#ifndef NUMBERS
#define NUMBERS
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float from_bits(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
static inline float whole(uint16_t x) { return from_bits((uint32_t)x << 16); }
static inline uint16_t rounded(float x) { /* to the nearest, ties to even; what is no number stays none */
  uint32_t bits;
  memcpy(&bits, &x, 4);
  uint16_t near = (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  return x == x ? near : 0x7fc0;
}
/* e^x to about 1e-7: x = n ln 2 + r, a polynomial in r, n into the exponent */
static inline float power(float x) {
  x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  float n = rintf(x * 1.44269504f);
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return (p * r * r + r + 1.0f) * from_bits((uint32_t)((int32_t)n + 127) << 23);
}
#endif
