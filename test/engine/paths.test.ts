/** One plan serves modules of the same structure, and names the one that it runs for. */
import { expect, test } from 'vitest'
import { add, exp, explain, groupNorm, log, matmul, mean, mul, ones, realize, relu, scalar, softmax, sum, valueAndGrad, variable } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import { expectAll } from '../devices.ts'

const devices = await expectAll()

const of = (on: Device, ...shape: number[]): Tensor => ones(shape, { device: on })

/** Each makes a graph of nodes with two paths, in which one kernel may stand for several nodes. */
const programs: Readonly<Record<string, (on: Device, first: string, second: string) => Tensor>> = {
  elementwise: (on, first, second) => on.scope(second, () => sum(log(on.scope(first, () => sum(exp(of(on, 3, 4)), 0))))),
  'an epilogue': (on, first, second) => on.scope(second, () => relu(add(on.scope(first, () => matmul(of(on, 3, 4), of(on, 4, 5))), 1))),
  'packed operands': (on, first, second) => on.scope(second, () => softmax(on.scope(first, () => matmul(of(on, 100, 300), of(on, 300, 250))))),
  'a reduction in parts': (on, first, second) => on.scope(second, () => exp(on.scope(first, () => sum(exp(of(on, 1000, 300)))))),
  'what a fused op is made of': (on, first, second) => on.scope(second, () => softmax(on.scope(first, () => groupNorm(exp(of(on, 2, 4, 5)), 2)))),
  'a module in a module': (on, first, second) => on.scope(first, () => sum(on.scope(second, () => exp(softmax(of(on, 3, 4)))))),
}

for (const device of devices) {
  test.each(Object.entries(programs))(`explain on ${device.name}: %s`, async (_, program) => {
    const text = async (first: string, second: string): Promise<string> => (await explain(program(device, first, second))).map((plan) => plan.text).join('\n')
    device.plans.resetCounters()
    const one = await text('encoder', 'unet.head')
    expect(one).toMatch(/encoder|unet\.head/)
    const renamed = (x: string, y: string): string => one.replaceAll(/encoder|unet\.head/g, (name) => (name === 'encoder' ? x : y))
    expect(await text('a/b', 'unet.tail')).toBe(renamed('a/b', 'unet.tail'))
    expect(await text('unet.head', 'encoder')).toBe(renamed('unet.head', 'encoder')) // exchanged
    expect(await text('encoder', 'unet.head')).toBe(one)
    expect([device.plans.compiled, device.plans.size > 0]).toEqual([1, true])
  })

  test(`steps of two models on ${device.name} share a plan, before and after they ran`, async () => {
    const texts: string[] = []
    device.plans.resetCounters()
    for (const name of ['student', 'teacher', 'student']) {
      const w = variable([1, 2, 3], { device })
      await realize(w)
      const { value, grads } = device.scope(name, () => valueAndGrad(mean(exp(mul(w, w))), { w }))
      w.assign(add(w, mul(grads.w, scalar(-0.1, { device }))))
      texts.push((await explain(value, w))[0]?.text ?? '')
      await realize(value, w)
    }
    expect(texts[1]).toBe(texts[0]?.replaceAll('student', 'teacher'))
    expect(texts[1]).toContain('teacher')
    expect(texts[2]).toBe(texts[0])
    expect(device.plans.compiled).toBeLessThanOrEqual(2) // a variable's first value, and the step
  })
}
