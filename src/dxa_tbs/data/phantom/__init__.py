"""A synthetic antero-posterior DXA image of the lumbar spine whose trabecular bone score (TBS) is known.

Physics in order: population (who is scanned) -> anatomy (areal density in g/cm2) -> texture (trabecular bone,
set by TBS) -> scanner (blur, quantum noise, 8-bit display). Blur, thickness, anatomy and amplitude differ from
patient to patient: they are the error that no reader of the image can take away.

Tuned until results came near the paper's: a result on it says that the pipeline works, never that a model works
on patients. It is no model of any product's TBS algorithm either.
"""
