/* SignSGD's step in one pass over parameter, gradient and momentum; float32, dense.

   Same numbers as plain.py, bit for bit: compiled with -ffp-contract=off, so that a product and a sum
   round as two torch operations do, with an explicit fmaf where torch.lerp has one. Only the sums for
   lambda_k are added in another order. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && !defined(__FMA__)
#error "without FMA instructions fmaf is slower than the torch operations"
#endif

enum { CLEAN, GAUSSIAN, UNIFORM, GRADIENT }; /* GRADIENT: the SGD phase, without momentum */
enum { NO_SUMS, SUMS, ENERGY }; /* what to track: nothing; dot and square; energy too */
enum { NO_MOMENTUM, FLOAT32, BFLOAT16 };
enum { BLOCK = 64, AHEAD = 6 * BLOCK };

typedef struct {
  float *p;
  const float *g;
  void *m;
  int64_t n, first;   /* coordinates, and the number of the first: a multiple of 64 */
  uint32_t parameter; /* its number */
  double dot, square, energy; /* <s, g>, |g|^2 and |s|^2 of s = sign(m) */
} task;

typedef struct {
  float weight, lr, decay, coupled, factor, amplitude; /* weight: 1 - beta; amplitude: 1/sigma, or A */
  int32_t momentum, law, track;
  uint32_t key[2], step; /* of the noise */
} step_constants;

static inline float from_bits(uint32_t u) {
  union { uint32_t u; float f; } v = {u};
  return v.f;
}

static inline uint32_t to_bits(float f) {
  union { float f; uint32_t u; } v = {f};
  return v.u;
}

static inline uint16_t to_bfloat16(float x) {
  uint32_t u = to_bits(x);
  return x != x ? 0x7fc0u : (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

/* noise.philox: Philox4x32-10 on a vector of blocks, a 32-bit word in each 64-bit lane */
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 8
#define PRODUCT(x, y) ((wide)_mm512_mul_epu32((__m512i)(x), (__m512i)(y)))
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 4
#define PRODUCT(x, y) ((wide)_mm256_mul_epu32((__m256i)(x), (__m256i)(y)))
#else
#define LANES 2
#define PRODUCT(x, y) (((x) & 0xffffffffu) * (y))
#endif
enum { VECTORS = 16 / LANES };
typedef uint64_t wide __attribute__((vector_size(8 * LANES)));

/* Blocks in the lanes of two vectors: the even ones, then the odd ones. So their words are put together
   as the low and high halves of one vector, in order. */
static const uint64_t BLOCKS[16] = {
#if LANES == 8
    0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15
#elif LANES == 4
    0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15
#else
    0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15
#endif
};

/* The words of the 64 coordinates from 64 * group: noise.words. */
static __attribute__((noinline)) void philox(const task *t, const step_constants *r, uint64_t group, uint32_t *words) {
  const wide zero = {0}, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u, half = zero + 0xffffffffu;
  const uint64_t block = 16 * group;
  wide a[VECTORS], b[VECTORS], c[VECTORS], d[VECTORS];
#pragma GCC unroll 8
  for (int v = 0; v < VECTORS; v++) {
    memcpy(&a[v], BLOCKS + v * LANES, sizeof a[v]);
    a[v] += block & 0xffffffffu;
    b[v] = zero + (block >> 32);
    c[v] = zero + t->parameter;
    d[v] = zero + r->step;
  }
  uint32_t k0 = r->key[0], k1 = r->key[1];
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const wide key0 = zero + k0, key1 = zero + k1;
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) {
      const wide p = PRODUCT(a[v], m0), q = PRODUCT(c[v], m1); /* of the low halves; b and d have dirty upper ones */
      a[v] = (q >> 32) ^ (b[v] ^ key0);
      c[v] = (p >> 32) ^ (d[v] ^ key1);
      b[v] = q;
      d[v] = p;
    }
  }
  const wide *const four[] = {a, b, c, d};
#pragma GCC unroll 4
  for (int w = 0; w < 4; w++)
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v += 2) {
      const wide pair = (four[w][v] & half) | four[w][v + 1] << 32;
      memcpy(words + 16 * w + v * LANES, &pair, sizeof pair);
    }
}

/* noise.centred */
static inline float centred(uint32_t word) { return ((float)(int32_t)(word ^ 0x80000000u) + 0.5f) * 0x1p-32f; }

/* noise.exceeds, for |x| <= 1 and for every x */
static inline int exceeds_near(uint32_t word, float x) {
  float t = x * x, s = 9.246838123e-05f;
  s = s * t + -1.165350761e-03f;
  s = s * t + 9.964166816e-03f;
  s = s * t + -6.648873000e-02f;
  s = s * t + 3.989421990e-01f;
  return -centred(word) < x * s;
}

static inline int exceeds(uint32_t word, float x) {
  const float size = fabsf(x);
  float tail = 5.383e-06f;
  tail = tail * size + 4.88906e-05f;
  tail = tail * size + 3.80036e-05f;
  tail = tail * size + 3.2776263e-03f;
  tail = tail * size + 2.11410061e-02f;
  tail = tail * size + 4.98673470e-02f;
  tail = tail * size + 1.0f;
  tail *= tail;
  tail *= tail;
  tail *= tail;
  tail *= tail;
  const uint32_t distance = (x > 0 ? word : ~word) >> 1;
  const int flips = ((float)(int32_t)distance + 0.5f) * tail < 0x1p30f;
  return size <= 1 ? exceeds_near(word, x) : (x > 0) ^ flips;
}

static inline float sign(float x) { /* NaN where x is not finite */
  return (float)((x > 0) - (x < 0)) + (x - x);
}

/* One task. The last three arguments are constants: each call compiles to a loop of its own. */
static inline __attribute__((always_inline)) void run(task *t, const step_constants *r, int momentum, int law, int track) {
  float *restrict p = t->p;
  const float *restrict gradient = t->g;
  float *restrict wide = t->m;
  uint16_t *restrict narrow = t->m;
  const float weight = r->weight, lr = r->lr, decay = r->decay, coupled = r->coupled;
  const float factor = r->factor, amplitude = r->amplitude;
  const uint32_t is_coupled = coupled != 0 ? 0xffffffffu : 0; /* an infinite x times 0 is NaN */
  double dot = 0, square = 0, energy = 0;
  float ms[BLOCK];
  uint32_t words[BLOCK];

  for (int64_t a = 0; a < t->n; a += BLOCK) {
    const int n = a + BLOCK < t->n ? BLOCK : (int)(t->n - a);
    for (int i = AHEAD; i < AHEAD + BLOCK; i += 16) { /* a cache line; beyond the end it is a no-op */
      __builtin_prefetch(p + a + i, 1, 3);
      __builtin_prefetch(gradient + a + i, 0, 3);
      if (momentum == FLOAT32) __builtin_prefetch(wide + a + i, 1, 3);
      if (momentum == BFLOAT16 && i % 32 == 0) __builtin_prefetch(narrow + a + i, 1, 3);
    }
    float d = 0, q = 0, e = 0;
    uint32_t top = 0; /* the bits of max |m|, which order as the numbers do */
#pragma omp simd reduction(+ : d, q, e) reduction(max : top)
    for (int i = 0; i < n; i++) {
      const float x = p[a + i];
      const float g = gradient[a + i] * factor + from_bits(to_bits(x * coupled) & is_coupled);
      float m = g;
      if (momentum == FLOAT32) {
        m = wide[a + i];
        m = fmaf(weight, g - m, m);
        wide[a + i] = m;
      } else if (momentum == BFLOAT16) {
        m = from_bits((uint32_t)narrow[a + i] << 16);
        m = fmaf(weight, g - m, m);
        narrow[a + i] = to_bfloat16(m);
      }
      const float s = sign(m);
      if (track) {
        d += s * g;
        q += g * g;
        if (track == ENERGY) e += s * s;
      }
      if (law == GRADIENT) {
        p[a + i] = x * decay - lr * g;
      } else if (law == CLEAN) {
        p[a + i] = x * decay - lr * s;
      } else {
        ms[i] = m;
        const uint32_t bits = to_bits(fabsf(m));
        top = bits > top ? bits : top;
      }
    }
    dot += d;
    square += q;
    energy += e;
    if (law == GAUSSIAN || law == UNIFORM) philox(t, r, (uint64_t)(t->first + a) / BLOCK, words);
    if (law == UNIFORM) {
#pragma omp simd
      for (int i = 0; i < n; i++) {
        const float v = ms[i] + amplitude * (2 * centred(words[i]));
        p[a + i] = p[a + i] * decay - lr * sign(v);
      }
    } else if (law == GAUSSIAN && from_bits(top) * amplitude <= 1) {
#pragma omp simd
      for (int i = 0; i < n; i++) {
        const int plus = exceeds_near(words[i], ms[i] * amplitude);
        p[a + i] = p[a + i] * decay - lr * ((plus ? 1.0f : -1.0f) + (ms[i] - ms[i]));
      }
    } else if (law == GAUSSIAN) {
#pragma omp simd
      for (int i = 0; i < n; i++) {
        const int plus = exceeds(words[i], ms[i] * amplitude);
        p[a + i] = p[a + i] * decay - lr * ((plus ? 1.0f : -1.0f) + (ms[i] - ms[i]));
      }
    }
  }
  t->dot = dot;
  t->square = square;
  t->energy = energy;
}

#define CASE(M, L, T) case (M) * 12 + (L) * 3 + (T): run(t, r, M, L, T); break;
#define SUMS_OF(M, L) CASE(M, L, NO_SUMS) CASE(M, L, SUMS) CASE(M, L, ENERGY)
#define LAWS(M) SUMS_OF(M, CLEAN) SUMS_OF(M, GAUSSIAN) SUMS_OF(M, UNIFORM)

void sign_ablate_step(task *tasks, int64_t count, const step_constants *r) {
  for (task *t = tasks; t < tasks + count; t++) switch (r->momentum * 12 + r->law * 3 + r->track) {
    CASE(NO_MOMENTUM, GRADIENT, NO_SUMS) LAWS(NO_MOMENTUM) LAWS(FLOAT32) LAWS(BFLOAT16)
  }
}
