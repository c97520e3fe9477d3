// SPDX-License-Identifier: Apache-2.0
//
// Litmus tests of words that are used two at a time, or half at a time.
#include <new>

#include "sync/arena.hpp"
#include "tests/explore/scenarios/litmus.hpp"

namespace explore {

namespace {

using taskwork::platform::AtomicPair;
using taskwork::platform::Pair;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acq_rel = std::memory_order_acq_rel;

template <class T>
T& make(const std::string& name) {
    auto* const made = new (taskwork::sync::Arena::allocate(64, 64)) T;
    Setup::machine().name(made, sizeof(T), name);
    return *made;
}

bool exchange(AtomicPair& pair, std::uint64_t value) {
    Pair expected{};
    return pair.compare_exchange(expected, {value, value});
}

const std::set<std::string> kWhole{"00", "11"};
const std::set<std::string> kOne{"01", "10"};

const Registered kPairSeen{{.name = "litmus.pair_seen_whole",
                            .about = "2 threads",
                            .lay_out =
                                [](Setup& setup) {
                                    auto& pair = make<AtomicPair>("pair");
                                    const unsigned process = setup.process();
                                    setup.thread(process, "writer", [&] { exchange(pair, 1); });
                                    setup.thread(process, "reader", [&] {
                                        const Pair seen = pair.load();
                                        result(0, seen.low);
                                        result(1, seen.high);
                                    });
                                    setup.at_end([] { report(2); });
                                },
                            .models = kAllModels,
                            .judge = shows(kWhole, kWhole, kWhole)}};

const Registered kPairOnce{
    {.name = "litmus.pair_once",
     .about = "2 threads",
     .lay_out =
         [](Setup& setup) {
             auto& pair = make<AtomicPair>("pair");
             const unsigned process = setup.process();
             for (const unsigned who : {0U, 1U}) {
                 setup.thread(process, "thread" + std::to_string(who),
                              [&pair, who] { result(who, exchange(pair, who + 1) ? 1 : 0); });
             }
             setup.at_end([] { report(2); });
         },
     .models = kAllModels,
     .judge = shows(kOne, kOne, kOne)}};

/// An exchange of a pair is a full fence, also for what lies around it.
const Registered kPairFence{{.name = "litmus.pair_fences",
                             .about = "2 threads",
                             .lay_out =
                                 [](Setup& setup) {
                                     Variable& x = setup.variable("x");
                                     Variable& y = setup.variable("y");
                                     auto& pair = make<AtomicPair>("pair");
                                     const unsigned process = setup.process();
                                     const auto side = [&pair](Variable& mine, Variable& other,
                                                               unsigned index) {
                                         return [&pair, &mine, &other, index] {
                                             mine.store(1, relaxed);
                                             exchange(pair, index + 1);
                                             result(index, other.load(relaxed));
                                         };
                                     };
                                     setup.thread(process, "left", side(x, y, 0));
                                     setup.thread(process, "right", side(y, x, 1));
                                     setup.at_end([] { report(2); });
                                 },
                             .models = kAllModels,
                             .judge = shows(kNotBothZero, kNotBothZero, kNotBothZero)}};

const std::set<std::string> kHalves{"012", "172"};

/// Half a word is exchanged: the other half is as whoever stores whole words left it.
const Registered kHalf{
    {.name = "litmus.half_a_word",
     .about = "2 threads",
     .lay_out =
         [](Setup& setup) {
             Variable& word = setup.variable("word");
             Setup::machine().words(&word, 8);
             auto& low = reinterpret_cast<taskwork::platform::Atomic<std::uint32_t>&>(word);
             const unsigned process = setup.process();
             setup.thread(process, "whole",
                          [&] { word.store(std::uint64_t{2} << 32 | 1, relaxed); });
             setup.thread(process, "half", [&] { result(0, low.exchange(7, acq_rel)); });
             setup.at_end([&] {
                 const std::uint64_t last = word.load(relaxed);
                 result(1, last & UINT32_MAX);
                 result(2, last >> 32);
                 report(3);
             });
         },
     .models = kAllModels,
     .judge = shows(kHalves, kHalves, kHalves)}};

}  // namespace

}  // namespace explore
