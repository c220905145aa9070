import fc from 'fast-check'
import { it } from 'vitest'
import type { AttentionDescriptor, AttentionGradDescriptor } from '../../kernels/ir/descriptor.ts'
import { attentionKernel } from '../../kernels/wasm/attention/attention.ts'
import { attentionGradKernel } from '../../kernels/wasm/attention/attentionGrad.ts'
import type { WasmTarget } from '../../kernels/wasm/core/kernel.ts'
import { attentionCases, checkAttention, checkAttentionGrad, checkMaskedRows, checkPoisonedHead } from './attentions.ts'
import { launch, type Run, target as relaxed } from './launch-rows.ts'

const targets = fc.constantFrom<WasmTarget>({ relaxed: false }, relaxed, { relaxed: true, wide: true })
const attend = (target: WasmTarget, seed: number): Run<AttentionDescriptor> => (d, buffers) => launch(attentionKernel(d, target), buffers, seed)
const differentiate = (target: WasmTarget, seed: number): Run<AttentionGradDescriptor> => (d, buffers) => launch(attentionGradKernel(d, target), buffers, seed)

it('attentionKernel equals float64 loops', async () => {
  await fc.assert(fc.asyncProperty(attentionCases, targets, fc.nat(1000), (o, target, seed) => checkAttention(o, seed, attend(target, seed))), { numRuns: 40 })
}, 60_000)

it('attentionGradKernel equals the gradient in float64', async () => {
  await fc.assert(fc.asyncProperty(attentionCases, targets, fc.nat(1000), (o, target, seed) => checkAttentionGrad(o, seed, differentiate(target, seed))), { numRuns: 40 })
}, 60_000)

it('rows that are masked everywhere are 0, have a log-sum-exp of +∞ and a gradient of 0', () => checkMaskedRows(attend(relaxed, 1), differentiate(relaxed, 1)))

it('heads with NaN leave other heads alone', () => checkPoisonedHead(attend(relaxed, 1), differentiate(relaxed, 1)))
