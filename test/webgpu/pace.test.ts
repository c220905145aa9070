/** Sleeping while the device works. */
import { expect, test } from 'vitest'
import { Pace } from '../../engine/device/webgpu/pace.ts'

test('most of the shortest of the last eight runs', () => {
  const pace = new Pace()
  expect(pace.sleep).toBe(0) // The first run compiles: nothing is known.
  pace.note(400)
  expect(pace.sleep).toBe(319)
  pace.note(50)
  expect(pace.sleep).toBe(39)
  for (let run = 0; run < 7; run++) pace.note(100)
  expect(pace.sleep).toBe(39)
  pace.note(100)
  expect(pace.sleep).toBe(79)
})

test('short runs are awaited at once', () => {
  const pace = new Pace()
  pace.note(3.7)
  expect(pace.sleep).toBe(0)
})

test('a program that becomes faster is caught up with', () => {
  const pace = new Pace()
  pace.note(100)
  // A run that was over during the sleep seems to have taken as long as that.
  for (let run = 0; run < 20; run++) pace.note(Math.max(pace.sleep, 10))
  expect(pace.sleep).toBe(7)
})
