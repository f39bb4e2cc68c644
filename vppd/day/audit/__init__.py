"""A second opinion on a chain: re-adds its money and energy from exported blocks alone.

It reads what was decided and what executing it is said to have done, and works everything out again
from the published rules (market.md, §0 and §4) with exact fractions. It shares record decoders with
the ledger and nothing that decides or computes: a test walks its imports. So a mistake in the
settlement shows as a finding here instead of being made twice.

Not checked, because ``vppd block verify`` does: certificates, state roots, and whether transactions
that failed had to.
"""

from vppd.day.audit.blocks import audit_blocks
from vppd.day.audit.report import AuditReport, ExportedBlock, MemberAudit
from vppd.day.audit.store import audit_store

__all__ = ["AuditReport", "ExportedBlock", "MemberAudit", "audit_blocks", "audit_store"]
