// SPDX-License-Identifier: Apache-2.0
//
// A batch of operations by one thread, as it is or in a handler.
#pragma once

#include <cstdint>
#include <functional>

#include "report.hpp"

namespace taskwork::bench {

enum class Where { task, nmi };

/// Operations of a batch that uses nothing up.
inline constexpr std::uint64_t kLongBatch = 10'000;
/// Batches of a repetition that use up spares, each with a wait for a grace period behind it, or
/// that threads do at the same time. From add_*() on. Context: task.
inline int rounds() { return is_short() ? 3 : 30; }

/// Has `batch` done there, nmi being a handler of a signal that the thread sends itself, in which
/// it is what an event makes of it. The batch returns how many of its `times` operations did what
/// they were to; all, or if `expected` is false none. Adds a sample. False: not so, and the state
/// says it. Context: task.
bool timed(benchmark::State& state, Samples& samples, Where where, std::uint64_t times,
           const std::function<std::uint64_t()>& batch, bool expected = true);

}  // namespace taskwork::bench
