"""Which job is done how, and in which queue."""

from server.config import Settings
from server.database import Database
from server.jobs import Job
from server.tokens import RESET_PASSWORD, VERIFY_EMAIL, MailTokens
from worker.accounts import FirstAccount
from worker.email import LinkEmail, Mailer, SecurityNotice
from worker.job_queue import Work
from worker.mail_server import MailServer
from worker.mail_texts import MailTexts
from worker.settings import MAIL, PROMPT, Lane

LANES: dict[str, Lane] = {
    Job.OPEN_FIRST_ACCOUNT: PROMPT,
    Job.SEND_VERIFICATION_EMAIL: MAIL,
    Job.SEND_PASSWORD_RESET_EMAIL: MAIL,
    Job.SEND_SECURITY_NOTICE: MAIL,
}
"""By name of the job."""


def work_in(
    lane: Lane, database: Database, mail_server: MailServer, mail_tokens: MailTokens, settings: Settings
) -> dict[str, Work]:
    """What the jobs of a lane do, by their names."""
    mailer = Mailer(database, mail_server, settings.mail_from)
    texts = MailTexts(settings.public_origin)
    work: dict[str, Work] = {
        Job.OPEN_FIRST_ACCOUNT: FirstAccount(database, settings.default_currency).open,
        Job.SEND_VERIFICATION_EMAIL: LinkEmail(database, mailer, texts, mail_tokens, VERIFY_EMAIL).send,
        Job.SEND_PASSWORD_RESET_EMAIL: LinkEmail(database, mailer, texts, mail_tokens, RESET_PASSWORD).send,
        Job.SEND_SECURITY_NOTICE: SecurityNotice(database, mailer, texts).send,
    }
    return {job: done for job, done in work.items() if LANES[job] is lane}
