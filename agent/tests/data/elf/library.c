/* A library with two versions of a function, and one that is not for others. */
int first_answer(void) { return 1; }
int second_answer(void) { return 2; }
__attribute__((visibility("hidden"), used)) int inner_answer(void) { return 3; }
__asm__(".symver first_answer, answer@DEMO_1");
__asm__(".symver second_answer, answer@@DEMO_2");
