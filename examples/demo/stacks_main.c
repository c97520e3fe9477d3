// SPDX-License-Identifier: Apache-2.0
//
// A program to be sampled: named threads, each with a call chain of its own, several levels deep.
// It is built with frame pointers and with its functions in the dynamic symbol table, so that a
// sampler can tell whole stacks by name.
//
//     stacks [--seconds S | --units N] [--threads N]
//
// Runs for S seconds (default 3), or until every thread has done N units of work; N threads
// (default 4) take the chains in turn. Prints a line per thread with its units and a checksum,
// which depends on the units alone: two runs with --units print the same, sampled or not.

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/// A function that keeps a frame and a symbol of its own, whatever the compiler would rather do.
/// (The folder's programs are compiled with frame pointers and without sibling calls.)
#ifdef __clang__
#define FRAME __attribute__((noinline, visibility("default")))
#else
#define FRAME __attribute__((noinline, noclone, visibility("default")))
#endif

/// For functions that call none: gcc gives those a frame only if they ask for it, and without one
/// their caller is missing from the stack.
#define KEEP_FRAME()                                                                               \
    do {                                                                                           \
        void* volatile frame_ = __builtin_frame_address(0);                                        \
        (void)frame_;                                                                              \
    } while (0)

// ---- words: count words in a made-up text -------------------------------------------------------

FRAME uint64_t hash_word(const char* word, size_t size) {
    KEEP_FRAME();
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < size; ++i) {
        hash = (hash ^ (unsigned char)word[i]) * 1099511628211u;
    }
    return hash;
}

FRAME uint64_t split_line(const char* line, size_t size) {
    uint64_t sum = 0;
    size_t start = 0;
    for (size_t i = 0; i <= size; ++i) {
        if (i == size || line[i] == ' ') {
            sum += hash_word(line + start, i - start);
            start = i + 1;
        }
    }
    return sum;
}

FRAME uint64_t count_words(uint64_t seed) {
    char text[4096];
    for (size_t i = 0; i < sizeof(text); ++i) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned draw = (unsigned)(seed >> 59);
        text[i] = draw < 5 ? ' ' : (char)('a' + draw - 5);
    }
    uint64_t sum = 0;
    for (size_t line = 0; line < sizeof(text); line += 128) {
        sum ^= split_line(text + line, 128);
    }
    return sum;
}

FRAME uint64_t serve_words(uint64_t unit) {
    uint64_t sum = 0;
    for (uint64_t page = 0; page < 4; ++page) {
        sum += count_words(unit * 4 + page);
    }
    return sum;
}

// ---- matrix: solve a system of equations --------------------------------------------------------

#define ORDER 48

FRAME void subtract_row(double* row, const double* pivot, double factor) {
    KEEP_FRAME();
    for (size_t column = 0; column < ORDER + 1; ++column) {
        row[column] -= factor * pivot[column];
    }
}

FRAME void eliminate_column(double (*rows)[ORDER + 1], size_t column) {
    for (size_t row = column + 1; row < ORDER; ++row) {
        subtract_row(rows[row], rows[column], rows[row][column] / rows[column][column]);
    }
}

FRAME void factorize(double (*rows)[ORDER + 1]) {
    for (size_t column = 0; column < ORDER; ++column) {
        eliminate_column(rows, column);
    }
}

FRAME uint64_t solve_system(uint64_t unit) {
    double rows[ORDER][ORDER + 1];
    for (size_t row = 0; row < ORDER; ++row) {
        for (size_t column = 0; column < ORDER + 1; ++column) {
            rows[row][column] = (double)((unit + row * 7 + column * 13) % 17);
        }
        rows[row][row] += 400;  // dominant, so that no pivot is near zero
    }
    factorize(rows);
    uint64_t bits;
    memcpy(&bits, &rows[ORDER - 1][ORDER], sizeof(bits));
    return bits;
}

// ---- primes: count primes -----------------------------------------------------------------------

FRAME uint64_t power_modulo(uint64_t base, uint64_t exponent, uint64_t modulus) {
    KEEP_FRAME();
    uint64_t power = 1;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) {
            power = power * base % modulus;
        }
        base = base * base % modulus;
    }
    return power;
}

/// Miller and Rabin's test; exact for these bases and numbers below 3,215,031,751.
FRAME bool is_prime(uint64_t number) {
    static const uint64_t bases[] = {2, 3, 5, 7};
    uint64_t odd = number - 1;
    unsigned twos = 0;
    for (; odd % 2 == 0; odd /= 2) {
        ++twos;
    }
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); ++i) {
        uint64_t x = power_modulo(bases[i], odd, number);
        bool passes = x == 1 || x == number - 1;
        for (unsigned round = 1; round < twos && !passes; ++round) {
            x = x * x % number;
            passes = x == number - 1;
        }
        if (!passes) {
            return false;
        }
    }
    return true;
}

FRAME uint64_t count_primes(uint64_t from, uint64_t to) {
    uint64_t count = 0;
    for (uint64_t number = from | 1; number < to; number += 2) {
        count += is_prime(number);
    }
    return count;
}

FRAME uint64_t search_primes(uint64_t unit) {
    uint64_t from = 1000000 + unit % 100000 * 200;
    return count_primes(from, from + 200);
}

// ---- trees: build and drop search trees, on malloc ----------------------------------------------

struct node {
    uint64_t key;
    struct node* children[2];
};

FRAME struct node* insert_key(struct node* node, uint64_t key) {
    if (!node) {
        node = calloc(1, sizeof(*node));
        if (!node) {
            abort();
        }
        node->key = key;
        return node;
    }
    struct node** child = &node->children[key > node->key];
    *child = insert_key(*child, key);
    return node;
}

FRAME uint64_t drop_tree(struct node* node, uint64_t depth) {
    if (!node) {
        return 0;
    }
    uint64_t sum = node->key * depth;
    sum += drop_tree(node->children[0], depth + 1);
    sum += drop_tree(node->children[1], depth + 1);
    free(node);
    return sum;
}

FRAME struct node* build_tree(uint64_t seed) {
    struct node* root = NULL;
    for (int i = 0; i < 200; ++i) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        root = insert_key(root, seed >> 32);
    }
    return root;
}

FRAME uint64_t plant_trees(uint64_t unit) {
    struct node* root = build_tree(unit);
    return drop_tree(root, 1);
}

// ---- Threads ------------------------------------------------------------------------------------

static const struct chain {
    const char* name;
    uint64_t (*run_unit)(uint64_t unit);
} chains[] = {
    {"words", serve_words},
    {"matrix", solve_system},
    {"primes", search_primes},
    {"trees", plant_trees},
};
#define CHAINS (sizeof(chains) / sizeof(chains[0]))

struct worker {
    pthread_t thread;
    const struct chain* chain;
    char name[16];
    uint64_t units;
    uint64_t checksum;
};

#define THREADS_MAX 1000

static uint64_t units_wanted;
static struct timespec deadline;

static bool is_past_deadline(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > deadline.tv_sec ||
           (now.tv_sec == deadline.tv_sec && now.tv_nsec >= deadline.tv_nsec);
}

FRAME void* run_worker(void* argument) {
    struct worker* worker = argument;
    pthread_setname_np(pthread_self(), worker->name);
    while (units_wanted ? worker->units < units_wanted : !is_past_deadline()) {
        worker->checksum = worker->checksum * 31 + worker->chain->run_unit(worker->units);
        worker->units += 1;
    }
    return NULL;
}

static uint64_t parse_count(const char* option, const char* text, uint64_t max) {
    char* end = NULL;
    errno = 0;
    uint64_t count = text ? strtoull(text, &end, 10) : 0;
    if (!text || errno || end == text || *end || count == 0 || count > max) {
        fprintf(stderr, "stacks: %s needs a number from 1 to %" PRIu64 "\n", option, max);
        exit(2);
    }
    return count;
}

int main(int argument_count, char** arguments) {
    uint64_t seconds = 3;
    uint64_t threads = CHAINS;
    for (int i = 1; i < argument_count; i += 2) {
        if (strcmp(arguments[i], "--seconds") == 0) {
            seconds = parse_count(arguments[i], arguments[i + 1], 1000000);
        } else if (strcmp(arguments[i], "--units") == 0) {
            units_wanted = parse_count(arguments[i], arguments[i + 1], UINT64_MAX);
        } else if (strcmp(arguments[i], "--threads") == 0) {
            threads = parse_count(arguments[i], arguments[i + 1], THREADS_MAX);
        } else {
            fprintf(stderr, "usage: stacks [--seconds S | --units N] [--threads N]\n");
            return 2;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += (time_t)seconds;

    struct worker* workers = calloc(threads, sizeof(*workers));
    if (!workers) {
        perror("stacks");
        return 1;
    }
    for (uint64_t i = 0; i < threads; ++i) {
        struct worker* worker = &workers[i];
        worker->chain = &chains[i % CHAINS];
        snprintf(worker->name, sizeof(worker->name), "%s-%u", worker->chain->name,
                 (unsigned)(i % THREADS_MAX));
        int error = pthread_create(&worker->thread, NULL, run_worker, worker);
        if (error) {
            fprintf(stderr, "stacks: cannot start thread %" PRIu64 ": %s\n", i, strerror(error));
            return 1;
        }
    }
    for (uint64_t i = 0; i < threads; ++i) {
        pthread_join(workers[i].thread, NULL);
        printf("%-12s %10" PRIu64 " units  checksum %016" PRIx64 "\n", workers[i].name,
               workers[i].units, workers[i].checksum);
    }
    free(workers);
    return 0;
}
