// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "bpf/jit/code_region.hpp"
#include "bpf/jit/native_code.hpp"
#include "bpf/jit/translate.hpp"
#include "sync/arena.hpp"

namespace taskwork::bpf::jit {

NativeCode make_native(const Source& source) {
    NativeCode native;
    if (!CodeRegion::usable()) {
        return native;
    }
    const Result<Image> image = translate(source);
    if (!image) {
        return native;
    }
    const std::size_t places = image->functions.size() + image->calls.size();
    auto* const table =
        static_cast<Place*>(sync::Arena::allocate(places * sizeof(Place), alignof(Place)));
    if (table == nullptr) {
        return native;
    }
    const std::byte* const code = CodeRegion::place(image->code.data(), image->code.size());
    if (code == nullptr) {
        sync::Arena::release(table, places * sizeof(Place));
        return native;
    }
    std::copy(image->calls.begin(), image->calls.end(),
              std::copy(image->functions.begin(), image->functions.end(), table));
    native.code = code;
    native.bytes = static_cast<std::uint32_t>(image->code.size());
    native.function_count = static_cast<std::uint32_t>(image->functions.size());
    native.call_count = static_cast<std::uint32_t>(image->calls.size());
    native.functions = table;
    return native;
}

}  // namespace taskwork::bpf::jit
