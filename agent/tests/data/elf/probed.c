/* A program with USDT probes, written as <sys/sdt.h> writes them. It says where its probes and functions are in its
 * memory, then waits for the end of its input. */
#include <stdio.h>
#include <unistd.h>

#if defined(__x86_64__)
#define FIRST "-4@%%edi 8@$-5 8@(%%rax,%%rbx,4)"
#define SECOND "-4@-20(%%rbp) 8@%%rsi"
#else
#define FIRST "-4@w0 8@-5 8@[x0, x1, lsl 3]"
#define SECOND "-4@[sp, 12] 8@x1"
#endif

#define PROBE(label, provider, name, semaphore, arguments)                                                             \
    __asm__ volatile(".globl " label "\n" label ": nop\n"                                                              \
                     ".pushsection .note.stapsdt,\"\",\"note\"\n"                                                      \
                     ".balign 4\n"                                                                                     \
                     ".4byte 992f-991f, 994f-993f, 3\n"                                                                \
                     "991: .asciz \"stapsdt\"\n"                                                                       \
                     "992: .balign 4\n"                                                                                \
                     "993: .8byte " label "\n"                                                                         \
                     ".8byte _.stapsdt.base\n"                                                                         \
                     ".8byte " semaphore "\n"                                                                          \
                     ".asciz \"" provider "\"\n"                                                                       \
                     ".asciz \"" name "\"\n"                                                                           \
                     ".asciz \"" arguments "\"\n"                                                                      \
                     "994: .balign 4\n"                                                                                \
                     ".popsection\n"                                                                                   \
                     ".ifndef _.stapsdt.base\n"                                                                        \
                     ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                           \
                     ".weak _.stapsdt.base\n"                                                                          \
                     ".hidden _.stapsdt.base\n"                                                                        \
                     "_.stapsdt.base: .space 1\n"                                                                      \
                     ".size _.stapsdt.base, 1\n"                                                                       \
                     ".popsection\n"                                                                                   \
                     ".endif\n" ::)

unsigned short demo_request_semaphore __attribute__((section(".probes"), used));
extern char request_site_1[], request_site_2[], idle_site[];

/* Also those that nothing refers to. */
#define KEPT __attribute__((noinline, noclone, used))

KEPT static int twice(int value) { return value * 2; }

KEPT int begin(int value)
{
    PROBE("request_site_1", "demo", "request", "demo_request_semaphore", FIRST);
    return twice(value);
}

KEPT int end(int value)
{
    PROBE("request_site_2", "demo", "request", "demo_request_semaphore", SECOND);
    return value - 1;
}

KEPT int idle(int value)
{
    PROBE("idle_site", "demo", "idle", "0", "");
    return value;
}

/* As C++ has them: engine::step(int), engine::step(long), and engine::Batch::add(int). */
KEPT int step_int(int value) __asm__("_ZN6engine4stepEi");
KEPT int step_long(long value) __asm__("_ZN6engine4stepEl");
KEPT int add(void *self, int value) __asm__("_ZN6engine5Batch3addEi");
int step_int(int value) { return value + 1; }
int step_long(long value) { return (int)value + 2; }
int add(void *self, int value) { return value + (self != 0); }

static int plain(int value) { return value + 3; }
static int (*choose(void))(int) { return plain; }
int chosen(int value) __attribute__((ifunc("choose")));

int table[4] = {1, 2, 3, 4};
/* Another function `twice`, of another file. */
void *other_twice(void);

int main(void)
{
    int sum = begin(1) + end(2) + idle(3) + step_int(4) + step_long(5) + add(table, 6) + chosen(7);
    printf("request_site_1 %p\nrequest_site_2 %p\nidle_site %p\n", request_site_1, request_site_2, idle_site);
    printf("semaphore %p\nbegin %p\ntwice %p\nother_twice %p\n", &demo_request_semaphore, begin, twice, other_twice());
    printf("step_int %p\nstep_long %p\nadd %p\nsum %d\n.\n", step_int, step_long, add, sum);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
    return 0;
}
