"""Noise, preconditioning, schedules and the sampler of Algorithm 3; independent of nets and training.

Schedules need no PyTorch, so that talking can do without it; ``noise`` and ``sampler`` compute in it.

| here        | paper                  | meaning                                                        |
|-------------|------------------------|----------------------------------------------------------------|
| z           | z_t                    | clean latent, zero mean and unit std per channel               |
| s           | s                      | noise strength, s_min .. s_max                                 |
| z_s         | z + s eps, Eq. 3       | noisy latent                                                   |
| eps_hat     | eps_theta, Eq. 4       | predicted noise, (z_s - z0_hat) / s                            |
| z0_hat      | (Karras et al. 2022 D) | clean estimate                                                 |
| strengths   | s_0 .. s_(K-1), s_K=0  | noise strengths of a K-step schedule                           |
| eta_k       | eta_k, Alg. 3          | s_(k-1) - s_k                                                  |
"""

from tsd.diffusion.schedule import S_MAX, S_MIN, Schedule, karras_schedule, many_steps
