// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/machine.hpp"

namespace explore {

void Machine::ra_reset() {}
unsigned Machine::ra_variants(unsigned, const Request&) const { return 1; }
std::uint64_t Machine::ra_execute(unsigned, const Request&, unsigned) { return 0; }
void Machine::ra_fence(unsigned) {}
void Machine::ra_membarrier() {}
std::uint64_t Machine::ra_hash() const { return 0; }
std::size_t Machine::ra_bytes() const { return 0; }
std::byte* Machine::ra_save(std::byte* to) const { return to; }
const std::byte* Machine::ra_restore(const std::byte* from) { return from; }

}  // namespace explore
