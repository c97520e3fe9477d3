// SPDX-License-Identifier: Apache-2.0
//
// A state as a whole: kept, gone back to, and told from others by a hash.
#include <bit>
#include <cstdint>
#include <cstring>

#include "sync/arena.hpp"
#include "tests/explore/detail.hpp"
#include "tests/explore/fiber.hpp"
#include "tests/explore/heap.hpp"
#include "tests/explore/machine.hpp"

namespace explore {

namespace {

using taskwork::sync::kArenaBase;

}  // namespace

void Machine::save(Snapshot& to) const {
    const std::size_t heap = HeapOf::size();
    std::size_t size =
        sizeof(World) + sizeof(Statics) + sizeof(heap) + heap + lines_.size() * kLine + ra_bytes();
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        if (actor.status == Status::ready || actor.status == Status::blocked) {
            size += static_cast<std::size_t>(stacks_ + (index + 1) * kStackBytes -
                                             static_cast<std::byte*>(actor.stack_pointer));
        }
    }
    std::byte* at = to.prepare(size);
    const auto put = [&at](const void* from, std::size_t bytes) {
        std::memcpy(at, from, bytes);
        at += bytes;
    };
    put(&world_, sizeof(World));
    put(static_cast<void*>(statics_), sizeof(Statics));
    put(&heap, sizeof(heap));
    put(HeapOf::begin(), heap);
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        if (actor.status == Status::ready || actor.status == Status::blocked) {
            const auto* sp = static_cast<std::byte*>(actor.stack_pointer);
            put(sp, static_cast<std::size_t>(stacks_ + (index + 1) * kStackBytes - sp));
        }
    }
    at = ra_save(at);
    to.lines = lines_.size();
    for (const std::uintptr_t line : lines_) {
        put(reinterpret_cast<const void*>(line), kLine);
    }
}

void Machine::restore(const Snapshot& from) {
    const std::byte* at = from.data();
    const auto get = [&at](void* to, std::size_t bytes) {
        std::memcpy(to, at, bytes);
        at += bytes;
    };
    get(&world_, sizeof(World));
    get(static_cast<void*>(statics_), sizeof(Statics));
    std::size_t heap = 0;
    get(&heap, sizeof(heap));
    get(HeapOf::begin(), heap);
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        if (actor.status == Status::ready || actor.status == Status::blocked) {
            auto* sp = static_cast<std::byte*>(actor.stack_pointer);
            get(sp, static_cast<std::size_t>(stacks_ + (index + 1) * kStackBytes - sp));
        }
    }
    at = ra_restore(at);
    for (std::size_t index = 0; index < lines_.size(); ++index) {
        if (index < from.lines) {
            get(reinterpret_cast<void*>(lines_[index]), kLine);
        } else {  // Found since; nobody had touched it then.
            std::memcpy(reinterpret_cast<void*>(lines_[index]),
                        base_arena_.data() + (lines_[index] - kArenaBase), kLine);
        }
    }
}

/// What an actor will do depends on its stack (and the registers kept there) and on memory. Frames
/// that have returned are not part of it: what was read there no longer matters.
std::uint64_t Machine::stack_hash(unsigned index) const {
    const auto* at = static_cast<const std::byte*>(world_.actors[index].stack_pointer);
    const std::byte* const top = stacks_ + (index + 1) * kStackBytes;
    std::uint64_t one = 0x9e3779b97f4a7c15ULL;
    std::uint64_t two = index;
    for (; at < top; at += 16) {
        std::uint64_t words[2] = {};
        std::memcpy(words, at, at + 16 <= top ? 16 : 8);
        one = std::rotl((one ^ words[0]) * 0xd6e8feb86659fd93ULL, 27);
        two = std::rotl((two ^ words[1]) * 0xa0761d6478bd642fULL, 31);
    }
    return mix(one ^ std::rotl(two, 17));
}

std::uint64_t Machine::state_key() const {
    std::uint64_t key = world_.memory_hash ^ world_.notes_hash ^ world_.heap_hash;
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        key += hash2(index * 8U + static_cast<unsigned>(actor.status),
                     actor.history + (actor.status == Status::blocked ? actor.waits_on : 0));
        if (actor.status == Status::ready && actor.request.kind == Kind::resume) {
            key += hash2(index + 1000, actor.result);
        }
    }
    for (unsigned index = 0; index < thread_count_; ++index) {
        const Thread& thread = world_.threads[index];
        std::uint64_t part = thread.depth | (thread.signalled ? 256U : 0U);
        for (unsigned depth = 0; depth < thread.depth; ++depth) {
            part = part * 32 + thread.active[depth];
        }
        for (unsigned entry = 0; entry < thread.buffered; ++entry) {
            part = hash2(part + thread.buffer[entry].place, thread.buffer[entry].value);
        }
        key += hash2(part, index + 77);
    }
    for (unsigned index = 0; index < process_count_; ++index) {
        key += world_.dead[index] ? hash2(index, 999) : 0;
    }
    key += hash2(world_.preemptions_left * 64U + world_.notify_failures_left, world_.rests + 5);
    if (model_ == Model::ra) {
        key += ra_hash();
    }
    return key == 0 ? 1 : key;
}

std::string Machine::untracked() const {
    for (std::size_t line = 0; line * kLine < base_arena_.size(); ++line) {
        if ((line >= line_known_.size() || !line_known_[line]) &&
            std::memcmp(base_arena_.data() + line * kLine,
                        reinterpret_cast<const void*>(kArenaBase + line * kLine), kLine) != 0) {
            Name found{0, SIZE_MAX, "unnamed memory"};
            for (const Name& one : names_) {
                if (kArenaBase + line * kLine - one.begin < one.size && one.size < found.size) {
                    found = one;
                }
            }
            return "no snapshot holds what was written to " + found.text + "+" +
                   std::to_string(kArenaBase + line * kLine - found.begin);
        }
    }
    return "";
}

}  // namespace explore
