/** Dawn, which is WebGPU in Node, as tests use it. */
import { create, globals } from 'webgpu'

Object.assign(globalThis, globals)

/** Stays reachable through this module: the process ends when Dawn's instance is collected. */
export const dawn: GPU = create(['enable-dawn-features=disable_workgroup_init'])
