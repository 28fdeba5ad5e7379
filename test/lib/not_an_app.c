/* A shared object that is no application: it exports something, but not daybook_app(). */

__attribute__((visibility("default"))) int not_an_app(void);

int not_an_app(void)
{
    return 0;
}
