/**
 * Trials of 256-bit code. The fault planted is the one that computed wrong sums for weeks: constants that single vectors share with
 * pairs, which V8 miscompiles where registers are short.
 */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { device } from '../../engine/device/open.ts'
import type { DeviceOptions } from '../../engine/device/open.ts'
import { Trials } from '../../engine/device/cpu/trials.ts'
import { revectorizerMissing } from '../../engine/platform.node.ts'
import { arange, argmax, equal, expm1, full, isNaN, less, log1p, logicalAnd, logicalOr, mean, min, prod, sum, tensor, where } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { VectorScope } from '../../kernels/wasm/core/scope.ts'
import { kernelsOf, opTable, steps } from '../kernels/compiledKernels.ts'

afterEach(() => void vi.restoreAllMocks())

const plant = (): void => void vi.spyOn(VectorScope.prototype, 'within').mockImplementation((_, write) => write())

/** Numbers in an uneven order, so that every part of a fold differs. */
const numbers = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => 0.25 + ((i * 7919) % 1009) / 1009)

/** Ones, which the compiler does not see. */
const flag = (above: number): Tensor => where(less(tensor(numbers(200)), above), 1, 0)

const faulty: Readonly<Record<string, () => Tensor>> = {
  'sum of log1p': () => sum(log1p(tensor(numbers(70_000)))),
  'mean of expm1': () => mean(expm1(tensor(numbers(9000)))),
  'argmax of a choice': () => argmax(where(equal(arange(100), 98), 1, 0), 0),
  'min of a choice': () => {
    const x = flag(2)
    return min(where(logicalOr(equal(x, tensor([1])), isNaN(x)), tensor(numbers(200)), 999))
  },
  'prod of a choice': () => prod(where(logicalAnd(less(flag(2), tensor([3])), equal(flag(2), tensor([1]))), 1, 2)),
}

describe.skipIf(revectorizerMissing() !== undefined)('a planted fault', () => {
  test.each(Object.entries(faulty))('%s: the kernel stays at 128 bits, and info names it', async (_, compute) => {
    const on = async (options: DeviceOptions): Promise<{ readonly value: number; readonly failed: number }> => {
      await using opened = await device('cpu', { threads: 1, ...options })
      return { value: await compute().item(), failed: opened.info.instructions?.failed.length ?? 0 }
    }
    const right = await on({ instructions: 'relaxed' })
    plant()
    const [untried, tried] = [await on({ instructions: 'wide', trials: false }), await on({ instructions: 'wide' })]
    expect(untried.value).not.toBe(right.value)
    expect(tried).toEqual({ value: right.value, failed: expect.any(Number) as unknown })
    expect(tried.failed).toBeGreaterThan(0)
  })
})

test.skipIf(revectorizerMissing() !== undefined)('kernels with large items have a small launch of the same code, and none fails its trial', async () => {
  const passes = vi.spyOn(Trials.prototype, 'passes')
  const kernels = new Map([...await kernelsOf(steps), ...await kernelsOf(opTable)])
  expect(passes.mock.results.every(({ value }) => value === true)).toBe(true)
  const large = [...kernels.values()].filter(({ flops, items }) => flops / items > 1e6)
  // How planes are cut depends on their sizes.
  const without = [...kernels.values()].filter(({ key, small }) => !key.startsWith('plane') && small !== undefined && small() === undefined)
  expect(without.map(({ key }) => key)).toEqual([])
  expect(large.filter(({ small }) => (small?.()?.kernel.flops ?? Infinity) > 3e8).map(({ key }) => key)).toEqual([])
}, 120_000)

test('one may do without trials', async () => {
  const passes = vi.spyOn(Trials.prototype, 'passes')
  await using untried = await device('cpu', { trials: false, threads: 1 })
  expect(await sum(full([100], 2)).item()).toBe(200)
  expect(passes).not.toHaveBeenCalled()
  await untried.close()
})
