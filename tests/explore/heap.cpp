// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/heap.hpp"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace explore {

namespace {

constexpr std::size_t kBytes = HeapOf::kBytes;
constexpr unsigned kClasses = 20;

/// Blocks of powers of two; free ones of a size are a list. The book is in the memory itself.
struct Heap {
    std::size_t used;
    void* free[kClasses];
    alignas(16) std::byte memory[kBytes];
};
alignas(64) Heap heap{};
bool explored_code = false;

struct Block {
    std::uint64_t size_class;
    std::uint64_t reserved;
};

void* allocate(std::size_t size) {
    if (!explored_code) {
        return std::malloc(size == 0 ? 1 : size);
    }
    const auto size_class = static_cast<unsigned>(std::bit_width(size + sizeof(Block) - 1));
    if (size_class >= kClasses) {
        return nullptr;
    }
    void*& list = heap.free[size_class];
    const std::size_t bytes = std::size_t{1} << size_class;
    if (list != nullptr) {
        void* taken = list;
        std::memcpy(&list, taken, sizeof(list));
        // The hash of a state covers it all: nothing of an earlier use, or run, may be left.
        std::memset(taken, 0, bytes - sizeof(Block));
        return taken;
    }
    if (heap.used + bytes > kBytes) {
        return nullptr;
    }
    auto* block = reinterpret_cast<Block*>(heap.memory + heap.used);
    heap.used += bytes < 32 ? 32 : bytes;
    block->size_class = size_class;
    block->reserved = 0;
    std::memset(static_cast<void*>(block + 1), 0, bytes - sizeof(Block));
    return block + 1;
}

void release(void* memory) {
    const auto at = reinterpret_cast<std::uintptr_t>(memory);
    if (at - reinterpret_cast<std::uintptr_t>(heap.memory) >= kBytes) {
        std::free(memory);
        return;
    }
    void*& list = heap.free[(static_cast<Block*>(memory) - 1)->size_class];
    std::memcpy(memory, &list, sizeof(list));
    list = memory;
}

}  // namespace

HeapOf::HeapOf(bool explored) noexcept : before_(explored_code) { explored_code = explored; }
HeapOf::~HeapOf() { explored_code = before_; }
void HeapOf::set(bool explored) noexcept { explored_code = explored; }
void HeapOf::reset() noexcept {
    heap.used = 0;
    std::memset(heap.free, 0, sizeof(heap.free));
}
std::byte* HeapOf::begin() noexcept { return reinterpret_cast<std::byte*>(&heap); }
std::size_t HeapOf::size() noexcept { return offsetof(Heap, memory) + heap.used; }

std::uint64_t HeapOf::hash() noexcept {
    std::uint64_t sum = 1;
    for (std::size_t at = 0; at + 8 <= size(); at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, begin() + at, 8);
        sum = std::rotl((sum ^ word) * 0xd6e8feb86659fd93ULL, 29);
    }
    return sum;
}

}  // namespace explore

void* operator new(std::size_t size) {
    void* memory = explore::allocate(size);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}
void operator delete(void* memory) noexcept { explore::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { explore::release(memory); }
