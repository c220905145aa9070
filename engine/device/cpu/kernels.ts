/** The CPU's table of kernels. */
import { attentionKernel } from '../../../kernels/wasm/attention/attention.ts'
import { attentionGradKernel } from '../../../kernels/wasm/attention/attentionGrad.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../../../kernels/wasm/conv/conv.ts'
import { gatherKernel } from '../../../kernels/wasm/indexing/gather.ts'
import { groupNormKernel } from '../../../kernels/wasm/norm/groupNorm.ts'
import { groupNormGradKernel } from '../../../kernels/wasm/norm/groupNormGrad.ts'
import type { WasmKernel, WasmTarget } from '../../../kernels/wasm/core/kernel.ts'
import { layerNormGradKernel, layerNormKernel } from '../../../kernels/wasm/norm/layerNorm.ts'
import { mapKernel } from '../../../kernels/wasm/elementwise/map.ts'
import { matmulKernel } from '../../../kernels/wasm/matmul/matmul.ts'
import { matmulPanels, packingPays } from '../../../kernels/wasm/matmul/matmulPanels.ts'
import { takesPlanes } from '../../../kernels/wasm/conv/planeShape.ts'
import { philoxKernel } from '../../../kernels/wasm/elementwise/random.ts'
import { reduceKernel } from '../../../kernels/wasm/reduce/reduce.ts'
import { scanKernel } from '../../../kernels/wasm/reduce/scan.ts'
import { scatterAddKernel } from '../../../kernels/wasm/indexing/scatterAdd.ts'
import { smallAttention, smallConv, smallMatmul, smallNorm, withSmall } from '../../../kernels/wasm/core/small.ts'
import { softmaxGradKernel, softmaxKernel } from '../../../kernels/wasm/norm/softmax.ts'
import { argsortKernel } from '../../../kernels/wasm/indexing/sort.ts'
import { KernelTable } from '../rules/table.ts'
import { fusedRules } from '../rules/fused.ts'
import type { FusedGenerators, PrimitiveGenerators } from '../rules/generators.ts'
import { listRules } from './lists.ts'

const primitives = (target: WasmTarget): PrimitiveGenerators<WasmKernel> => ({
  map: mapKernel,
  reduce: reduceKernel,
  matmul: withSmall((d, epilogue) => matmulKernel(d, target, epilogue), smallMatmul),
  packMatmul: (d) => (packingPays(d) ? matmulPanels(d, target) : undefined),
  conv: withSmall((d, epilogue) => convKernel(d, target, epilogue), smallConv(7)),
  convInputGrad: withSmall((d, epilogue) => convInputGradKernel(d, target, epilogue), smallConv(7)),
  convWeightGrad: withSmall((d) => convWeightGradKernel(d, target), smallConv(23)), // positions enough that sums are added to
  convTakesPlanes: takesPlanes,
  gather: gatherKernel,
  scatterAdd: scatterAddKernel,
  cumsum: scanKernel,
  argsort: argsortKernel,
  randomBits: philoxKernel,
})

const fused = (target: WasmTarget): FusedGenerators<WasmKernel> => ({
  groupNorm: withSmall((d) => groupNormKernel(d, target), smallNorm),
  groupNormGrad: withSmall((d) => groupNormGradKernel(d, target), smallNorm),
  layerNorm: (d) => layerNormKernel(d, target),
  layerNormGrad: (d) => layerNormGradKernel(d, target),
  softmax: (d) => softmaxKernel(d, target),
  softmaxGrad: (d) => softmaxGradKernel(d, target),
  attention: withSmall((d) => attentionKernel(d, target), smallAttention),
  attentionGrad: withSmall((d) => attentionGradKernel(d, target), smallAttention),
})

export function cpuKernels(target: WasmTarget): KernelTable<WasmKernel> {
  return new KernelTable('cpu', primitives(target), { ...fusedRules(fused(target)), ...listRules })
}
