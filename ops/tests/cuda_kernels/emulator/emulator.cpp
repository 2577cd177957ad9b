// Runs a kernel's blocks one after the other, and a block's threads as fibers that take turns where they wait for each
// other. That finds what a device might forgive: a thread that does not come to a barrier, lanes of a warp at different
// operations, numbers that are read before they are there (shared memory begins as NaN, and asynchronous copies are made
// as late as they may be), and, with the turns in either order, what one thread reads too early or writes too soon.

#include "emulator.h"

#include <csetjmp>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <ucontext.h>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

// Of the section of shared memory.
extern "C" char __start_shared_memory[], __stop_shared_memory[];

namespace {

enum class State { READY, AT_WARP, AT_BLOCK, DONE };

struct Copy {
    void *to;
    const void *from;
    bool there;
};

constexpr size_t STACK = 256 * 1024;

struct Fiber {
    std::unique_ptr<char[]> stack{new char[STACK]};
    ucontext_t start;
    jmp_buf place;
    bool begun = false;
    State state = State::READY;
    emulator::Operation operation = nullptr;
    void *argument = nullptr;
    std::vector<Copy> copies;
};

std::vector<std::unique_ptr<Fiber>> fibers;
Fiber *current;
jmp_buf scheduler;
void (*body)(const void *);
const void *context;
bool failed;
char message[512];

// Switching by setjmp and longjmp spares a system call for the mask of signals each time.
void leave() {
    if (_setjmp(current->place) == 0) _longjmp(scheduler, 1);
}

void wait(State state) {
    current->state = state;
    leave();
}

void fiber() {
    for (;;) {
        body(context);
        if (!current->copies.empty()) emulator::fail("a thread ends without waiting for its copies");
        wait(State::DONE);
    }
}

void enter(unsigned thread) {
    current = fibers[thread].get();
    threadIdx = {thread, 0, 0};
    if (_setjmp(scheduler) != 0) return;
    if (current->begun) _longjmp(current->place, 1);
    current->begun = true;
    getcontext(&current->start);
    current->start.uc_stack.ss_sp = current->stack.get();
    current->start.uc_stack.ss_size = STACK;
    current->start.uc_link = nullptr;
    makecontext(&current->start, fiber, 0);
    setcontext(&current->start);
}

void note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    failed = true;
    std::vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
}

// How many of `count` fibers from `first` on are in a state.
unsigned in_state(State state, unsigned first, unsigned count) {
    unsigned found = 0;
    for (unsigned i = first; i < first + count; ++i) found += fibers[i]->state == state;
    return found;
}

// Does what all lanes have come to; false where they have not come to one thing.
bool operate(unsigned first) {
    void *arguments[32];
    for (unsigned lane = 0; lane < 32; ++lane) {
        Fiber &fiber = *fibers[first + lane];
        if (fiber.state != State::AT_WARP || fiber.operation != fibers[first]->operation) return false;
        arguments[lane] = fiber.argument;
    }
    fibers[first]->operation(arguments);
    for (unsigned lane = 0; lane < 32; ++lane) fibers[first + lane]->state = State::READY;
    return true;
}

// Runs a warp until its lanes are done or wait for other warps.
void run_warp(unsigned first, bool backwards) {
    for (;;) {
        for (unsigned i = 0; i < 32 && !failed; ++i) {
            const unsigned thread = first + (backwards ? 31 - i : i);
            if (fibers[thread]->state == State::READY) enter(thread);
        }
        if (failed || in_state(State::AT_WARP, first, 32) == 0) return;
        if (!operate(first)) return note("the lanes of warp %u stand at different operations", first / 32);
    }
}

void run_block(bool backwards) {
    const unsigned threads = blockDim.x, warps = threads / 32;
    std::memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    for (unsigned i = 0; i < threads; ++i) fibers[i]->state = State::READY;
    while (!failed && in_state(State::DONE, 0, threads) != threads) {
        for (unsigned i = 0; i < warps && !failed; ++i) run_warp(32 * (backwards ? warps - 1 - i : i), backwards);
        const unsigned waiting = in_state(State::AT_BLOCK, 0, threads);
        if (!failed && waiting != 0 && waiting != threads) {
            note("%u of %u threads came to a barrier, and the others ended", waiting, threads);
        }
        for (unsigned i = 0; i < threads && waiting == threads; ++i) fibers[i]->state = State::READY;
    }
}

void run_grid(bool backwards) {
    const size_t blocks = static_cast<size_t>(gridDim.x) * gridDim.y * gridDim.z;
    for (size_t i = 0; i < blocks && !failed; ++i) {
        const size_t block = backwards ? blocks - 1 - i : i;
        blockIdx.x = block % gridDim.x;
        blockIdx.y = block / gridDim.x % gridDim.y;
        blockIdx.z = block / gridDim.x / gridDim.y;
        run_block(backwards);
        if (failed) {
            char where[64];
            std::snprintf(where, sizeof where, " (block %u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z);
            std::strncat(message, where, sizeof message - std::strlen(message) - 1);
        }
    }
}

} // namespace

namespace emulator {

void meet(Operation operation, void *argument) {
    current->operation = operation;
    current->argument = argument;
    wait(State::AT_WARP);
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    failed = true;
    std::vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    _longjmp(scheduler, 1);
}

void later(void *to, const void *from, bool there) {
    if (reinterpret_cast<uintptr_t>(from) % 16 != 0) fail("a copy of 16 bytes from %p", from);
    current->copies.push_back({to, from, there});
}

void finish_copies() {
    for (const Copy &copy : current->copies) {
        copy.there ? std::memcpy(copy.to, copy.from, 16) : std::memset(copy.to, 0, 16);
    }
    current->copies.clear();
}

void check_shared(const void *place) {
    const char *byte = static_cast<const char *>(place);
    if (byte < __start_shared_memory || byte + 16 > __stop_shared_memory) fail("%p is no shared memory", place);
    if (reinterpret_cast<uintptr_t>(place) % 16 != 0) fail("%p is not 16-byte aligned", place);
}

} // namespace emulator

void __syncthreads() { wait(State::AT_BLOCK); }

// Calls `run(of)` in every thread; gives null, or what went wrong.
extern "C" const char *emulator_launch(const unsigned (&grid)[3], unsigned threads, bool backwards,
                                       void (*run)(const void *), const void *of) {
    if (threads == 0 || threads % 32 != 0 || threads > 1024) return "a block is of 32 to 1024 threads, in whole warps";
    while (fibers.size() < threads) fibers.emplace_back(new Fiber);
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {threads, 1, 1};
    body = run, context = of, failed = false;
    run_grid(backwards);
    if (!failed) return nullptr;
    fibers.clear();
    return message;
}
