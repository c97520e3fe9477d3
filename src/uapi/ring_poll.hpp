// SPDX-License-Identifier: Apache-2.0
//
// Polling of ring buffers. The kernel's is level-triggered on the positions in the shared pages: a
// ring is readable while produced != consumed. Here an eventfd stands behind the descriptor, and a
// consumer says that it has consumed by a plain store that nobody sees. So the eventfd is made to
// agree with the positions at the two moments when that matters: the worker makes it readable when
// records were submitted, and the wrapped wait calls settle it before they wait. A consumer that
// is blocked is thus woken, and one that has caught up is not woken again.
//
// A wait of code that is not wrapped (an event loop in a shared library) sees a caught-up ring
// readable until the next wrapped wait, e.g. in ring_buffer__poll(): one turn too many.
#pragma once

namespace taskwork::uapi {

/// Hooks the ring buffers of the map layer. Host only, once.
/// Context: task.
void start_ring_poll() noexcept;

/// Makes every ring descriptor readable if and only if its ring holds data now. One load where
/// there are none. Context: task.
void settle_rings();

/// Counts descriptors that need settling; called as they are made and destroyed.
/// Context: task.
void ring_opened() noexcept;
void ring_closed() noexcept;

}  // namespace taskwork::uapi
