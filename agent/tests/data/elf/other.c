/* A function of the same name as one in probed.c. */
__attribute__((noinline, noclone, used)) static int twice(int value) { return value + value; }

void *other_twice(void) { return twice; }
