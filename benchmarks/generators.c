/* Nanoseconds of process CPU time per 32-bit word of counter-based generators: benchmarks/generators.py.
   philox10 is the one of sign_ablate/optim/sign_step/step.c, which is included for it. */
#include "../sign_ablate/optim/sign_step/step.c"
#include <stdio.h>
#include <time.h>

enum { WORDS = 64, CALLS = 60000, ROUNDS = 25 };
typedef uint32_t words_t[WORDS];

static void philox10(const uint32_t *k, uint32_t group, words_t out) {
  const task t = {.parameter = 3};
  const step_constants r = {.key = {k[0], k[1]}, .step = 7};
  philox(&t, &r, group, out);
}

/* The same words, left to the compiler. */
static inline __attribute__((always_inline)) void philox_loop(const uint32_t *k, uint32_t group, words_t out, int rounds) {
#pragma omp simd
  for (int j = 0; j < 16; j++) {
    uint32_t a = 16 * group + j, b = 0, c = 3, d = 7, k0 = k[0], k1 = k[1];
    for (int r = 0; r < rounds; r++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      const uint64_t p = (uint64_t)0xD2511F53u * a, q = (uint64_t)0xCD9E8D57u * c;
      a = (uint32_t)(q >> 32) ^ b ^ k0, c = (uint32_t)(p >> 32) ^ d ^ k1, b = (uint32_t)q, d = (uint32_t)p;
    }
    out[j] = a, out[16 + j] = b, out[32 + j] = c, out[48 + j] = d;
  }
}
static void philox10_loop(const uint32_t *k, uint32_t group, words_t out) { philox_loop(k, group, out, 10); }
static void philox7_loop(const uint32_t *k, uint32_t group, words_t out) { philox_loop(k, group, out, 7); }

static inline uint32_t rotated(uint32_t x, int by) { return x << by | x >> (32 - by); }

static inline __attribute__((always_inline)) void threefry(const uint32_t *k, uint32_t group, words_t out, int rounds) {
  static const int R0[] = {10, 11, 13, 23, 6, 17, 25, 18}, R1[] = {26, 21, 27, 5, 20, 11, 10, 20};
  const uint32_t key[5] = {k[0], k[1], 0, 0, 0x1BD11BDAu ^ k[0] ^ k[1]};
#pragma omp simd
  for (int j = 0; j < 16; j++) {
    uint32_t a = 16 * group + j + key[0], b = key[1], c = 3 + key[2], d = 7 + key[3];
#pragma GCC unroll 20
    for (int r = 0; r < rounds; r++) {
      if (r % 2 == 0) a += b, b = rotated(b, R0[r % 8]) ^ a, c += d, d = rotated(d, R1[r % 8]) ^ c;
      else a += d, d = rotated(d, R0[r % 8]) ^ a, c += b, b = rotated(b, R1[r % 8]) ^ c;
      if (r % 4 == 3) {
        const int s = r / 4 + 1;
        a += key[s % 5], b += key[(s + 1) % 5], c += key[(s + 2) % 5], d += key[(s + 3) % 5] + s;
      }
    }
    out[j] = a, out[16 + j] = b, out[32 + j] = c, out[48 + j] = d;
  }
}
static void threefry20(const uint32_t *k, uint32_t group, words_t out) { threefry(k, group, out, 20); }
static void threefry12(const uint32_t *k, uint32_t group, words_t out) { threefry(k, group, out, 12); }

static inline uint64_t turned(uint64_t x) { return x >> 32 | x << 32; }

static void squares(const uint32_t *k, uint32_t group, words_t out) {
  const uint64_t key = (uint64_t)k[0] << 32 | k[1] | 1;
#pragma omp simd
  for (int j = 0; j < WORDS; j++) {
    const uint64_t y = (64ull * group + j) * key, z = y + key;
    uint64_t x = turned(y * y + y);
    x = turned(x * x + z);
    x = turned(x * x + y);
    out[j] = (uint32_t)((x * x + z) >> 32);
  }
}

static void lowbias32(const uint32_t *k, uint32_t group, words_t out) {
#pragma omp simd
  for (int j = 0; j < WORDS; j++) {
    uint32_t x = (64 * group + j) ^ k[0];
    x = ((x ^ x >> 16) * 0x21F0AAADu) ^ k[1];
    x = (x ^ x >> 15) * 0x735A2D97u;
    out[j] = x ^ x >> 15;
  }
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

#define GENERATOR(f) {#f, f, 1e9}
int main(void) {
  struct { const char *name; void (*draw)(const uint32_t *, uint32_t, words_t); double best; } all[] = {
    GENERATOR(lowbias32), GENERATOR(philox10), GENERATOR(philox10_loop), GENERATOR(philox7_loop),
    GENERATOR(threefry20), GENERATOR(threefry12), GENERATOR(squares)};
  const int count = sizeof all / sizeof *all;
  uint32_t kept = 0;
  for (int round = 0; round < ROUNDS; round++)
    for (int g = 0; g < count; g++) {
      const uint32_t key[2] = {(uint32_t)round, 0x9E3779B9u};
      words_t out;
      double spent = seconds();
      for (uint32_t i = 0; i < CALLS; i++) all[g].draw(key, i, out), kept ^= out[i % WORDS];
      spent = seconds() - spent;
      if (spent < all[g].best) all[g].best = spent;
    }
  for (int g = 0; g < count; g++) printf("%s %.3f\n", all[g].name, all[g].best * 1e9 / CALLS / WORDS);
  return kept == 42; /* the words are used */
}
