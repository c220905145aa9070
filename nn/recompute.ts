/** Activation checkpointing by module (Chen et al., arXiv:1604.06174): memory for a second forward. */
import { ConfigError, Tensor, recompute } from '../engine/index.ts'
import type { TensorLike } from '../engine/index.ts'
import { isTensorLike } from '../engine/variable.ts'
import { Module, namedModules } from './module.ts'

/**
 * Has the modules inside `root` that `choose` says keep nothing for the backward but their inputs, and compute the rest
 * again there, with the same draws and the same bits. Modules inside a chosen one are not asked for. They must return a
 * tensor or a list of tensors, else their calls throw ConfigError. Returns the paths of the chosen, and what undoes it.
 */
export function recomputeModules(root: Module, choose: (module: Module, path: string) => boolean): { paths: string[]; undo: () => void } {
  const chosen: [string, Module][] = []
  for (const [path, module] of namedModules(root)) {
    const inside = chosen.some(([outer]) => outer === '' || path.startsWith(`${outer}.`))
    if (!inside && choose(module, path)) chosen.push([path, module])
  }
  const undo = chosen.map(([path, module]) => Module.wrap(module as Module<[TensorLike]>, (forward, ...inputs) => recomputed(path, forward, inputs)))
  return { paths: chosen.map(([path]) => path), undo: () => undo.forEach((one) => one()) }
}

/** Tensors in lists and records need no care: what a checkpointed function reads is found in the graph. */
function recomputed(path: string, forward: (...inputs: [TensorLike]) => unknown, inputs: readonly unknown[]): unknown {
  return recompute((...tensors) => {
    let next = 0
    const result = forward(...(inputs.map((x) => (isTensorLike(x) ? tensors[next++] : x)) as [TensorLike]))
    if (result instanceof Tensor || (Array.isArray(result) && result.every((x) => x instanceof Tensor))) return result
    throw new ConfigError(`recomputeModules: module ${path === '' ? '(the root)' : path} returns neither a tensor nor a list of tensors; choose a module around or inside it`)
  }, ...inputs.filter(isTensorLike))
}
