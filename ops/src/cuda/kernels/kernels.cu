// All device kernels, as one unit. Every kernel takes sizes as `int`, computes offsets in `size_t`, and adds in one order:
// no result depends on how blocks are scheduled. Above each stands the grid and the block that it is launched with; none
// takes dynamic shared memory.

#include "activation.cu"
#include "attention_backward.cu"
#include "attention_forward.cu"
#include "norm.cu"
#include "optimiser.cu"
#include "pixel_loss.cu"
#include "reduce.cu"
#include "tokens.cu"
