/* SignSGD's step in one pass over parameter, gradient and momentum; float32, dense.

   Same numbers as plain.py, bit for bit: compiled with -ffp-contract=off, so that a product and a sum
   round as two torch operations do, with an explicit fmaf where torch.lerp has one. Only the sums for
   lambda_k are added in another order. */
#include <math.h>
#include <stdint.h>

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
  int64_t n;
  uint32_t first, low, high, unused;
  double dot, square, energy; /* <s, g>, |g|^2 and |s|^2 of s = sign(m) */
} task;

typedef struct {
  float weight, lr, decay, coupled, scale, amplitude; /* weight: 1 - beta; amplitude: 1/sigma, or A */
  int32_t momentum, law, track;
} rule;

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

/* noise.uniform */
static inline float uniform(uint32_t x, uint32_t low, uint32_t high) {
  x ^= low;
  x = (x ^ (x >> 16)) * 0x21F0AAADu;
  x ^= high;
  x = (x ^ (x >> 15)) * 0x735A2D97u;
  x ^= x >> 15;
  return ((float)(int32_t)(x >> 9) + 0.5f) * 0x1p-23f;
}

/* noise.exceeds: 1 - u < Phi(x), for |x| <= 1 and for every x */
static inline int exceeds_near(float u, float x) {
  float t = x * x, s = 9.246838123e-05f;
  s = s * t + -1.165350761e-03f;
  s = s * t + 9.964166816e-03f;
  s = s * t + -6.648873000e-02f;
  s = s * t + 3.989421990e-01f;
  return 0.5f - u < x * s;
}

static inline int exceeds(float u, float x) {
  const int is_near = fabsf(x) <= 1;
  const float far = x > 5.42f ? 5.42f : x < -5.42f ? -5.42f : x, t = far * far;
  float s = 9.246838123e-05f, p = 6.871798718e-06f, q = 5.708241377e-07f;
  s = s * t + -1.165350761e-03f;
  s = s * t + 9.964166816e-03f;
  s = s * t + -6.648873000e-02f;
  s = s * t + 3.989421990e-01f;
  p = p * t + 3.799339306e-04f;
  p = p * t + 5.951127314e-03f;
  p = p * t + 5.551174382e-02f;
  p = p * t + 3.989416899e-01f;
  q = q * t + 1.363521352e-04f;
  q = q * t + 3.086329294e-03f;
  q = q * t + 4.090178098e-02f;
  q = q * t + 3.058045333e-01f;
  q = q * t + 1.0f;
  const float left = (0.5f - u) * (is_near ? 1.0f : q), right = far * (is_near ? s : p);
  return left < right;
}

static inline float sign(float x) { /* NaN where x is not finite */
  return (float)((x > 0) - (x < 0)) + (x - x);
}

/* One task. The last three arguments are constants: each call compiles to a loop of its own. */
static inline __attribute__((always_inline)) void run(task *t, const rule *r, int momentum, int law, int track) {
  float *restrict p = t->p;
  const float *restrict gradient = t->g;
  float *restrict wide = t->m;
  uint16_t *restrict narrow = t->m;
  const float weight = r->weight, lr = r->lr, decay = r->decay, coupled = r->coupled;
  const float scale = r->scale, amplitude = r->amplitude;
  const uint32_t low = t->low, high = t->high;
  double dot = 0, square = 0, energy = 0;
  float ms[BLOCK];

  for (int64_t a = 0; a < t->n; a += BLOCK) {
    const int n = a + BLOCK < t->n ? BLOCK : (int)(t->n - a);
    const uint32_t first = t->first + (uint32_t)a;
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
      const float x = p[a + i], g = gradient[a + i] * scale + x * coupled;
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
    if (law == UNIFORM) {
#pragma omp simd
      for (int i = 0; i < n; i++) {
        const float v = ms[i] + amplitude * (2 * uniform(first + (uint32_t)i, low, high) - 1);
        p[a + i] = p[a + i] * decay - lr * sign(v);
      }
    } else if (law == GAUSSIAN && from_bits(top) * amplitude <= 1) {
#pragma omp simd
      for (int i = 0; i < n; i++) {
        const int plus = exceeds_near(uniform(first + (uint32_t)i, low, high), ms[i] * amplitude);
        p[a + i] = p[a + i] * decay - lr * ((plus ? 1.0f : -1.0f) + (ms[i] - ms[i]));
      }
    } else if (law == GAUSSIAN) {
#pragma omp simd
      for (int i = 0; i < n; i++) {
        const int plus = exceeds(uniform(first + (uint32_t)i, low, high), ms[i] * amplitude);
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

void sign_ablate_step(task *tasks, int64_t count, const rule *r) {
  for (task *t = tasks; t < tasks + count; t++) switch (r->momentum * 12 + r->law * 3 + r->track) {
    CASE(NO_MOMENTUM, GRADIENT, NO_SUMS) LAWS(NO_MOMENTUM) LAWS(FLOAT32) LAWS(BFLOAT16)
  }
}
