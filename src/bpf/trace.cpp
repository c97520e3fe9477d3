// SPDX-License-Identifier: Apache-2.0
#include "bpf/trace.hpp"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include "bpf/kernel_btf/task_struct.h"
#include "bpf/program.hpp"
#include "sync/arena.hpp"
#include "task/worker.hpp"

namespace taskwork::bpf {

namespace {

constexpr std::uint8_t kLineWriting = sync::kStateUser;
constexpr std::uint8_t kLineReady = sync::kStateUser + 1;

bool sweep_lines(std::uint16_t owner) noexcept {
    sync::Pool& lines = ProgramTable::get().trace->lines;
    for (std::uint32_t i = 0; i < lines.count(); ++i) {
        void* line = lines.at(i);
        const sync::Word word = sync::Pool::load(line);
        if (word.state() == kLineWriting && word.owner() == owner) {
            lines.release(line);
        }
    }
    return true;
}

}  // namespace

TraceRing* TraceRing::create() noexcept {
    const std::size_t pool_bytes = sync::Pool::bytes(kLines, sizeof(TraceLine));
    void* memory = sync::Arena::allocate(sizeof(TraceRing), 64);
    void* pool = sync::Arena::allocate(pool_bytes, 64);
    if (memory == nullptr || pool == nullptr) {
        return nullptr;
    }
    auto* ring = new (memory) TraceRing;
    ring->lines.init(pool, kLines, sizeof(TraceLine), 0);
    task::Worker::add_sweeper(sweep_lines);
    return ring;
}

TraceLine* TraceRing::begin(const task::Task& task) noexcept {
    auto* line = static_cast<TraceLine*>(lines.claim({task.process, task.lane}, kLineWriting));
    if (line == nullptr) {
        dropped.fetch_add(1, std::memory_order_relaxed);
        return nullptr;
    }
    line->number = next_number.fetch_add(1, std::memory_order_relaxed);
    line->time_ns = platform::now_ns();
    line->tid = task.tid;
    line->processor = static_cast<std::uint32_t>(sched_getcpu());
    std::memcpy(line->name, reinterpret_cast<const task_struct*>(task.view)->comm,
                sizeof(line->name));
    line->text[0] = '\0';
    return line;
}

void TraceRing::commit(TraceLine& line) noexcept {
    // The writer owns the word: nobody else moves it. Pairs with the acquire of drain().
    sync::Word word = sync::Pool::load(&line);
    sync::Pool::transition(&line, word, word.with_state(kLineReady));
}

void TraceRing::abandon(TraceLine& line) noexcept { lines.release(&line); }

void TraceRing::drain(void (*sink)(void* argument, const char* line, std::size_t size),
                      void* argument) {
    std::vector<TraceLine*> ready;
    for (std::uint32_t i = 0; i < lines.count(); ++i) {
        if (sync::Pool::load(lines.at(i)).state() == kLineReady) {
            ready.push_back(static_cast<TraceLine*>(lines.at(i)));
        }
    }
    std::sort(ready.begin(), ready.end(),
              [](const TraceLine* a, const TraceLine* b) { return a->number < b->number; });
    char out[sizeof(TraceLine) + 128];
    for (TraceLine* line : ready) {
        std::size_t length = strnlen(line->text, sizeof(line->text));
        while (length != 0 && line->text[length - 1] == '\n') {
            --length;
        }
        const int size = std::snprintf(
            out, sizeof(out), "%16.16s-%-7d [%03u] %5llu.%06llu: bpf_trace_printk: %.*s\n",
            line->name, line->tid, line->processor,
            static_cast<unsigned long long>(line->time_ns / 1'000'000'000U),
            static_cast<unsigned long long>(line->time_ns / 1'000U % 1'000'000U),
            static_cast<int>(length), line->text);
        lines.release(line);
        sink(argument, out, static_cast<std::size_t>(size));
    }
    if (const std::uint64_t lost = dropped.exchange(0, std::memory_order_relaxed); lost != 0) {
        const int size =
            std::snprintf(out, sizeof(out), "taskwork: %llu lines of trace were dropped\n",
                          static_cast<unsigned long long>(lost));
        sink(argument, out, static_cast<std::size_t>(size));
    }
}

}  // namespace taskwork::bpf
