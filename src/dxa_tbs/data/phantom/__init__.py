"""Synthetic antero-posterior DXA images of the lumbar spine with a known trabecular bone score (TBS).

The steps follow the physics: population (who is scanned) -> anatomy (areal density in g/cm2) -> texture (trabecular
bone, set by TBS) -> scanner (blur, quantum noise, 8-bit display). Blur, thickness, anatomy and amplitude vary between
patients and cause an error that cannot be removed when TBS is read from the image.

The phantom was tuned until results came close to the paper's. A result on it therefore shows that the pipeline works,
never that a model works on patients. It does not model the TBS algorithm of any product.
"""
