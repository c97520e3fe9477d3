// SPDX-License-Identifier: Apache-2.0
//
// dlclose of a plug-in that uses the library: unloaded while it has registered nothing, kept from
// its first registration on, for its callbacks may be called at any time.
#include <dlfcn.h>

#include <cstdio>
#include <thread>

namespace {

bool is_loaded(const char* path) {
    void* handle = ::dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (handle != nullptr) {
        ::dlclose(handle);
    }
    return handle != nullptr;
}

template <class Function>
Function* symbol(void* plugin, const char* name) {
    return reinterpret_cast<Function*>(::dlsym(plugin, name));
}

int failed(const char* what) {
    std::printf("failed: %s\n", what);
    return 1;
}

}  // namespace

int main(int, char** arguments) {
    const char* path = arguments[1];
    void* plugin = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == nullptr) {
        return failed(::dlerror());
    }
    ::dlclose(plugin);
    if (is_loaded(path)) {
        return failed("nothing is registered, and it stays");
    }
    int ran = 0;
    int result = -1;
    // A thread that registers through it, and ends after it has been closed: the end of the thread
    // runs the plug-in's callback, and its safe points are the plug-in's code.
    std::thread([&] {
        plugin = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
        auto* schedule = symbol<int(int*)>(plugin, "plugin_schedule");
        auto* safe_point = symbol<void()>(plugin, "plugin_safe_point");
        result = symbol<int()>(plugin, "plugin_register")();
        result += schedule(&ran);
        ::dlclose(plugin);
        safe_point();
        result += schedule(&ran);
    }).join();
    if (result != 0 || ran != 2) {
        return failed("a callback of a closed plug-in did not run");
    }
    return is_loaded(path) ? 0 : failed("it was unloaded though it had registered");
}
