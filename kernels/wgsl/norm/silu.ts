/** The sigmoid linear unit z·σ(z) and its derivative, as functions of a module. The bound on the exponent keeps out infinities. */
const sigmoid = `
    fn sigmoid(z: f32) -> f32 { return 1.0 / (1.0 + exp(min(-z, 80.0))); }`

export const silu: string = `${sigmoid}
    fn silu(z: f32) -> f32 { return z * sigmoid(z); }`

export const siluSlope: string = `${sigmoid}
    fn siluSlope(z: f32) -> f32 { let s = sigmoid(z); return s * (1.0 + z * (1.0 - s)); }`
