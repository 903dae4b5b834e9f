/* Two named threads, each in functions of its own, until a line comes; then it ends. */
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>

static volatile int end;
static volatile unsigned long sum;

__attribute__((noinline)) void alpha_inner(void) { for (int i = 0; i < 100000; i++) sum += i; }
__attribute__((noinline)) void alpha_outer(void) { while (!end) { alpha_inner(); sum++; } }
__attribute__((noinline)) void beta_inner(void) { for (int i = 0; i < 100000; i++) sum ^= i; }
__attribute__((noinline)) void beta_outer(void) { while (!end) { beta_inner(); sum++; } }

static void *alpha(void *arg) { prctl(PR_SET_NAME, "alpha"); alpha_outer(); return arg; }
static void *beta(void *arg) { prctl(PR_SET_NAME, "beta"); beta_outer(); return arg; }

int main(void) {
    pthread_t threads[2];
    pthread_create(&threads[0], 0, alpha, 0);
    pthread_create(&threads[1], 0, beta, 0);
    puts("up");
    fflush(stdout);
    getchar();
    end = 1;
    pthread_join(threads[0], 0);
    pthread_join(threads[1], 0);
    return 0;
}
