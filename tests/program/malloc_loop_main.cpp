// SPDX-License-Identifier: Apache-2.0
//
// malloc_loop SECONDS THREADS: each thread allocates, fills, checks and frees blocks of many sizes
// without pause. At the end one line: the number of operations, the blocks found damaged, and by
// how many KiB resident memory grew between the first quarter of the time and its end. Status 1 if
// any block was damaged.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

std::atomic<bool> stop{false};
std::atomic<std::uint64_t> operations{0};
std::atomic<std::uint64_t> damaged{0};

void work(std::uint32_t seed) {
    struct Block {
        unsigned char* memory = nullptr;
        std::size_t size = 0;
        unsigned char pattern = 0;
    };
    std::vector<Block> blocks(256);
    std::uint32_t random = seed;
    std::uint64_t done = 0;
    while (!stop.load(std::memory_order_relaxed)) {
        random = random * 1664525U + 1013904223U;
        Block& block = blocks[(random >> 8) % blocks.size()];
        for (std::size_t index = 0; index < block.size; index += 61) {
            if (block.memory[index] != block.pattern) {
                damaged.fetch_add(1);
            }
        }
        std::free(block.memory);
        // Mostly small, now and then one that malloc maps.
        block.size = (random >> 28) == 0 ? 200'000 : 16 + (random >> 16) % 2000;
        block.pattern = static_cast<unsigned char>(random);
        block.memory = static_cast<unsigned char*>(std::malloc(block.size));
        std::memset(block.memory, block.pattern, block.size);
        ++done;
    }
    for (const Block& block : blocks) {
        std::free(block.memory);
    }
    operations.fetch_add(done);
}

long resident_kib() {
    long pages = 0;
    if (std::FILE* file = std::fopen("/proc/self/statm", "r"); file != nullptr) {
        if (std::fscanf(file, "%*d %ld", &pages) != 1) {
            pages = 0;
        }
        std::fclose(file);
    }
    return pages * ::sysconf(_SC_PAGESIZE) / 1024;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: malloc_loop SECONDS THREADS\n", stderr);
        return 2;
    }
    const double seconds = std::atof(argv[1]);
    const int threads = std::atoi(argv[2]);
    std::vector<std::thread> workers;
    for (int index = 0; index < threads; ++index) {
        workers.emplace_back(work, 1U + static_cast<std::uint32_t>(index));
    }
    const std::chrono::duration<double> quarter(seconds / 4);
    std::this_thread::sleep_for(quarter);
    const long early = resident_kib();
    std::this_thread::sleep_for(3 * quarter);
    const long late = resident_kib();
    stop.store(true);
    for (auto& worker : workers) {
        worker.join();
    }
    std::printf("operations %llu damaged %llu grew %ld KiB\n",
                static_cast<unsigned long long>(operations.load()),
                static_cast<unsigned long long>(damaged.load()), late - early);
    return damaged.load() == 0 ? 0 : 1;
}
