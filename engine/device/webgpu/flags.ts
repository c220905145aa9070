/** WebGPU's bits of buffer usage, shader stages and map modes, as its specification numbers them: not every host has them as globals. */
export const usage = { mapRead: 1, copySource: 4, copyTarget: 8, uniform: 64, storage: 128, queryResolve: 512 } as const
export const computeStage = 4
export const mapRead = 1
