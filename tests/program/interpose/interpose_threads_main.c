/* SPDX-License-Identifier: Apache-2.0
 *
 * Births and deaths of threads, and the end of the process, as the agent is told of them.
 */
#include "common.h"

#include <threads.h>

static atomic_int ran;

static void* return_argument(void* argument) {
    CHECK(*test_agent.threads_started == 1 && *test_agent.threads_exiting == 0);
    ++ran;
    return argument;
}

static void case_return(void) {
    pthread_t thread;
    void* result;
    CHECK(pthread_create(&thread, NULL, return_argument, &ran) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == &ran && ran == 1);
    CHECK(*test_agent.threads_started == 1 && *test_agent.threads_exiting == 1);
}

static void* exit_inside(void* argument) { pthread_exit(argument); }

static void case_pthread_exit(void) {
    pthread_t thread;
    void* result;
    CHECK(pthread_create(&thread, NULL, exit_inside, &ran) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == &ran);
    CHECK(*test_agent.threads_started == 1 && *test_agent.threads_exiting == 1);
}

static int c11_function(void* argument) { return *(int*)argument - 1; }
static int c11_exit(void* argument) {
    (void)argument;
    thrd_exit(-7);
}

static void case_thrd_create(void) {
    thrd_t thread;
    int argument = -41, result;
    CHECK(thrd_create(&thread, c11_function, &argument) == thrd_success);
    CHECK(thrd_join(thread, &result) == thrd_success && result == -42);
    CHECK(thrd_create(&thread, c11_exit, NULL) == thrd_success);
    CHECK(thrd_join(thread, &result) == thrd_success && result == -7);
    CHECK(*test_agent.threads_started == 2 && *test_agent.threads_exiting == 2);
}

static pthread_key_t keys[8];
static atomic_int rounds;

/* The application's own data, which its destructor sets again and again, as some do. */
static void again(void* value) {
    CHECK(*test_agent.threads_exiting == 0); /* still covered */
    if (++rounds < 3) {
        pthread_setspecific(keys[7], value);
    }
}

static void* with_data(void* argument) {
    pthread_setspecific(keys[7], argument);
    return NULL;
}

static void case_destructors_are_covered(void) {
    pthread_t thread;
    for (int i = 0; i < 8; ++i) {
        CHECK(pthread_key_create(&keys[i], again) == 0);
    }
    CHECK(pthread_create(&thread, NULL, with_data, &ran) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && rounds == 3);
    CHECK(*test_agent.threads_exiting == 1);
}

static void* nothing(void* argument) { return argument; }

static void* create_many(void* argument) {
    for (int i = 0; i < 250; ++i) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0);
        if ((i & 1) != 0) {
            pthread_detach(thread);
        } else {
            pthread_join(thread, NULL);
        }
    }
    return argument;
}

static void case_a_thousand_threads(void) {
    pthread_t threads[4];
    struct flood flood;
    flood_begin(&flood);
    for (int i = 0; i < 4; ++i) {
        CHECK(pthread_create(&threads[i], NULL, create_many, NULL) == 0);
    }
    for (int i = 0; i < 4; ++i) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    flood_end(&flood);
    while (*test_agent.threads_exiting < 1005) { /* the detached ones: not even started, perhaps */
        pass_ns(100000);
    }
    CHECK(*test_agent.threads_started == 1005);
}

static void case_refused(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, (size_t)1 << 50) == 0);
    CHECK(pthread_create(&thread, &attributes, nothing, NULL) == EAGAIN);
    CHECK(*test_agent.threads_started == 0);
}

static void case_main_leaves_first(void) {
    /* The last thread ends the process with status 0; the parent counts what it prints. */
    CHECK(*test_agent.threads_exiting == 0);
    pthread_exit(NULL);
}

static void case_exit(void) { exit(0); }

int main(int argc, char** argv) {
    static const struct test_case cases[] = {
        {"return", case_return},
        {"pthread_exit", case_pthread_exit},
        {"thrd_create", case_thrd_create},
        {"destructors_are_covered", case_destructors_are_covered},
        {"a_thousand_threads", case_a_thousand_threads},
        {"refused", case_refused},
        {"main_leaves_first", case_main_leaves_first},
        {"exit", case_exit},
        {NULL, NULL},
    };
    return run_case(cases, argc, argv);
}
